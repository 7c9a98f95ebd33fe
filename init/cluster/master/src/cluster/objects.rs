//! The parts of the API's objects that the master writes and reads.

use std::collections::BTreeMap;

use attest_verify::Image;
use chain::ObjectId;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wire::NodeName;

/// The label that marks Secrets as the master's, and its value.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(super) const MASTER: &str = "k3s-daas-master";
/// The label that names a Secret's node.
pub(super) const NODE: &str = "k3s-daas.local/node";
/// The label that says what a Secret is: [`TOKEN`] or [`REMOVED`].
pub(super) const KIND: &str = "k3s-daas.local/kind";
/// A bootstrap token.
pub(super) const TOKEN: &str = "token";
/// An empty one, that remembers whose Node was removed.
pub(super) const REMOVED: &str = "removed";
/// The annotation with the stake's record.
const STAKE: &str = "k3s-daas.local/stake";
/// The annotation with the image that the node ran when it was admitted, where it proved that.
const IMAGE: &str = "k3s-daas.local/image";
/// The annotation with the time at which a Secret is over, RFC 3339.
const EXPIRES: &str = "k3s-daas.local/expires";
/// The annotations with what was known of the Node when the token was made.
const NODE_UID: &str = "k3s-daas.local/node-uid";
const NODE_HEARTBEAT: &str = "k3s-daas.local/node-heartbeat";

/// Labels of a Node that name the record of its stake, 32 hexadecimal digits each, as one label
/// does not hold 64. A kubelet can neither give nor take them: the API server's NodeRestriction
/// keeps labels of this suffix from it.
pub(super) const STAKE_HIGH: &str = "k3s-daas.node-restriction.kubernetes.io/stake-high";
pub(super) const STAKE_LOW: &str = "k3s-daas.node-restriction.kubernetes.io/stake-low";
/// The same for the image that the node ran when it was admitted: its register 11.
pub(super) const IMAGE_HIGH: &str = "k3s-daas.node-restriction.kubernetes.io/image-high";
pub(super) const IMAGE_LOW: &str = "k3s-daas.node-restriction.kubernetes.io/image-low";

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct Page<T> {
    pub(super) metadata: PageMetadata,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) items: Vec<T>,
}

/// Where the next page begins.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PageMetadata {
    #[serde(rename = "continue", default, deserialize_with = "null_as_default")]
    pub(super) next: String,
}

/// An object of which metadata alone matters.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Named {
    pub(super) metadata: Metadata,
}

/// Metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
    /// Another after each change; the master writes none.
    #[serde(skip_serializing)]
    pub(super) resource_version: String,
    #[serde(skip_serializing, deserialize_with = "timestamp")]
    pub(super) creation_timestamp: Option<OffsetDateTime>,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// What the API leaves empty it writes as `null`: lists without items, maps, times that never were.
fn null_as_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// A time as the API writes it; one that can't be read is none.
fn timestamp<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok()))
}

/// A Node.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Node {
    pub(super) metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "null_as_default")]
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default, deserialize_with = "null_as_default")]
    last_heartbeat_time: String,
}

impl Node {
    fn ready(&self) -> Option<&Condition> {
        let mut conditions = self.status.conditions.iter();
        conditions.find(|condition| condition.kind == "Ready")
    }

    /// When the kubelet last said how it is; empty where it never did.
    fn heartbeat(&self) -> &str {
        self.ready()
            .map_or("", |ready| ready.last_heartbeat_time.as_str())
    }
}

/// What a Node is admitted by, and goes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backing {
    /// The record of its stake.
    pub(super) stake: ObjectId,
    /// What it runs, where it proved that.
    pub(super) image: Option<Image>,
}

impl Backing {
    /// What a Node's labels name.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let halves = |high, low| {
            let half = |label| metadata.labels.get(label).filter(|half| half.len() == 32);
            Some(format!("{}{}", half(high)?, half(low)?))
        };
        let image = halves(IMAGE_HIGH, IMAGE_LOW);
        Some(Self {
            stake: format!("0x{}", halves(STAKE_HIGH, STAKE_LOW)?)
                .parse()
                .ok()?,
            image: image.and_then(|image| parse_image(&image)),
        })
    }

    /// The labels that name it; `null` takes away what does not stand there any more.
    pub(super) fn labels(&self) -> Value {
        let stake = self.stake.to_string();
        let (stake_high, stake_low) = stake.trim_start_matches("0x").split_at(32);
        let image = self.image.map(|image| hex::encode(image.register()));
        let (image_high, image_low) = image.as_ref().map(|image| image.split_at(32)).unzip();
        json!({
            STAKE_HIGH: stake_high, STAKE_LOW: stake_low,
            IMAGE_HIGH: image_high, IMAGE_LOW: image_low,
        })
    }
}

fn parse_image(text: &str) -> Option<Image> {
    let bytes = hex::decode(text).ok()?;
    Some(Image::from_register(bytes.try_into().ok()?))
}

/// What a Secret of the master is about, kept in its labels and annotations: nobody has to read
/// the Secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// [`TOKEN`] or [`REMOVED`].
    pub(super) kind: &'static str,
    pub(super) node: NodeName,
    pub(super) backing: Backing,
    pub(super) expires: OffsetDateTime,
    /// The Node of this name that was there before.
    pub(super) known: Option<Known>,
}

/// A Node as it was when a token was made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    uid: String,
    heartbeat: String,
}

impl Known {
    pub(super) fn of(node: &Node) -> Self {
        Self {
            uid: node.metadata.uid.clone(),
            heartbeat: node.heartbeat().to_owned(),
        }
    }
}

/// What a Node says of the token that was made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It has not come, or not anew.
    Waiting,
    /// It is a new Node, without the stake's labels so far.
    New,
    /// It is here, with its labels.
    Here,
}

impl Note {
    /// The metadata of its Secret.
    pub(super) fn metadata(&self, name: String) -> Metadata {
        let mut annotations = BTreeMap::from([
            (STAKE.to_owned(), self.backing.stake.to_string()),
            (EXPIRES.to_owned(), rfc3339(self.expires)),
        ]);
        if let Some(image) = &self.backing.image {
            annotations.insert(IMAGE.to_owned(), hex::encode(image.register()));
        }
        if let Some(known) = &self.known {
            annotations.insert(NODE_UID.to_owned(), known.uid.clone());
            annotations.insert(NODE_HEARTBEAT.to_owned(), known.heartbeat.clone());
        }
        Metadata {
            name,
            labels: BTreeMap::from([
                (MANAGED_BY.to_owned(), MASTER.to_owned()),
                (KIND.to_owned(), self.kind.to_owned()),
                (NODE.to_owned(), self.node.to_string()),
            ]),
            annotations,
            ..Metadata::default()
        }
    }

    /// Reads it back; `None` for what the master has not written.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let annotation = |key| metadata.annotations.get(key).cloned();
        let kind = metadata.labels.get(KIND)?.as_str();
        Some(Self {
            kind: [TOKEN, REMOVED].into_iter().find(|known| *known == kind)?,
            // it becomes part of a path
            node: metadata.labels.get(NODE)?.parse().ok()?,
            backing: Backing {
                stake: annotation(STAKE)?.parse().ok()?,
                image: annotation(IMAGE).and_then(|image| parse_image(&image)),
            },
            expires: OffsetDateTime::parse(&annotation(EXPIRES)?, &Rfc3339).ok()?,
            known: annotation(NODE_UID).map(|uid| Known {
                uid,
                heartbeat: annotation(NODE_HEARTBEAT).unwrap_or_default(),
            }),
        })
    }

    /// Whether the node has come with the token of this Secret, made at `made`. Both times are
    /// the API server's.
    pub(super) fn arrival(&self, made: Option<OffsetDateTime>, node: &Node) -> Arrival {
        let ours = match Backing::of(&node.metadata) {
            Some(backing) if backing.stake != self.backing.stake => return Arrival::Waiting,
            backing => backing.is_some(),
        };
        let before = self.known.as_ref().map(|known| known.uid.as_str());
        let created = node.metadata.creation_timestamp;
        let new = before != Some(node.metadata.uid.as_str())
            && made.is_some()
            && created >= made
            && created <= Some(self.expires);
        let again = before == Some(node.metadata.uid.as_str())
            && node.ready().is_some_and(|ready| ready.status == "True")
            && self
                .known
                .as_ref()
                .is_some_and(|known| known.heartbeat != node.heartbeat());
        match (new, ours) {
            (true, false) => Arrival::New,
            (_, true) if new || again => Arrival::Here,
            _ => Arrival::Waiting,
        }
    }
}

/// The time in seconds, as the API writes it.
pub(super) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_700_000_000 + seconds).unwrap()
    }

    fn backing(stake: ObjectId) -> Backing {
        let image = Some(Image::from_register([0x0c; 32]));
        Backing { stake, image }
    }

    fn labels(backing: Backing) -> BTreeMap<String, String> {
        let labels: BTreeMap<String, Option<String>> =
            serde_json::from_value(backing.labels()).unwrap();
        let given = |(key, value): (String, Option<String>)| Some((key, value?));
        labels.into_iter().filter_map(given).collect()
    }

    fn node(
        uid: &str,
        created: i64,
        ready: &str,
        heartbeat: &str,
        stake: Option<ObjectId>,
    ) -> Node {
        let labels = stake.map(|stake| labels(backing(stake)));
        Node {
            metadata: Metadata {
                name: "edge-0001".to_owned(),
                uid: uid.to_owned(),
                creation_timestamp: Some(time(created)),
                labels: labels.unwrap_or_default(),
                ..Metadata::default()
            },
            status: Status {
                conditions: vec![Condition {
                    kind: "Ready".to_owned(),
                    status: ready.to_owned(),
                    last_heartbeat_time: heartbeat.to_owned(),
                }],
            },
        }
    }

    #[test]
    fn what_the_api_leaves_empty_is_read() {
        let page = r#"{"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "215"}, "items": null}"#;
        let page: Page<Named> = serde_json::from_str(page).unwrap();
        assert!(page.items.is_empty() && page.metadata.next.is_empty());
        let node = r#"{"metadata": {"name": "edge-0001", "creationTimestamp": null, "labels": null,
            "annotations": null}, "status": {"conditions": [{"type": "Ready", "status": "Unknown",
            "lastHeartbeatTime": null}]}}"#;
        let node: Node = serde_json::from_str(node).unwrap();
        assert_eq!(node.heartbeat(), "");
        let node: Node = serde_json::from_str(
            r#"{"metadata": {"name": "edge-0001"}, "status": {"conditions": null}}"#,
        )
        .unwrap();
        assert!(node.ready().is_none());
    }

    #[test]
    fn a_secret_tells_what_it_is_about() {
        let note = Note {
            kind: TOKEN,
            node: "edge-0001".parse().unwrap(),
            backing: backing(ObjectId::from_bytes([7; 32])),
            expires: time(900),
            known: Some(Known::of(&node("u", 0, "True", "then", None))),
        };
        let metadata = note.metadata("bootstrap-token-abcdef".to_owned());
        let text = serde_json::to_string(&metadata).unwrap();
        let read: Metadata = serde_json::from_str(&text).unwrap();
        assert_eq!(Note::of(&read), Some(note));
        for key in [STAKE, EXPIRES] {
            let mut broken = read.clone();
            broken.annotations.insert(key.to_owned(), "x".to_owned());
            assert_eq!(Note::of(&broken), None);
        }
        assert_eq!(Note::of(&Metadata::default()), None);
    }

    #[test]
    fn stake_and_image_fit_into_labels() {
        let mut bytes = [0x0a; 32];
        bytes[0] = 0;
        let record = ObjectId::from_bytes(bytes);
        let mut node = node("u", 0, "True", "", Some(record));
        assert_eq!(Backing::of(&node.metadata), Some(backing(record)));
        for (label, value) in &node.metadata.labels {
            assert!(label.split_once('/').unwrap().1.len() <= 63 && value.len() <= 63);
        }
        // what is no image is none, and what is no stake is nothing
        let plain = Backing {
            image: None,
            ..backing(record)
        };
        assert_eq!(plain.labels()[IMAGE_LOW], Value::Null);
        let cut = node.metadata.labels.remove(IMAGE_LOW);
        assert!(cut.is_some());
        assert_eq!(Backing::of(&node.metadata), Some(plain));
        node.metadata.labels.remove(STAKE_LOW);
        assert_eq!(Backing::of(&node.metadata), None);
    }

    #[test]
    fn a_node_has_come_when_it_is_new_or_heard_of_again() {
        let (stake, other) = (ObjectId::from_bytes([7; 32]), ObjectId::from_bytes([8; 32]));
        let note = |known| Note {
            kind: TOKEN,
            node: "edge-0001".parse().unwrap(),
            backing: backing(stake),
            expires: time(900),
            known,
        };
        let made = Some(time(0));
        let first = note(None);
        let new = node("u", 0, "False", "", None);
        assert_eq!(first.arrival(made, &new), Arrival::New);
        assert_eq!(first.arrival(None, &new), Arrival::Waiting);
        let labelled = node("u", 5, "False", "", Some(stake));
        assert_eq!(first.arrival(made, &labelled), Arrival::Here);
        // older than the token, newer than its end, or another's
        for (created, label) in [(-1, None), (901, None), (5, Some(other))] {
            let stranger = node("u", created, "True", "now", label);
            assert_eq!(first.arrival(made, &stranger), Arrival::Waiting);
        }

        let back = note(Some(Known::of(&node("u", -9, "True", "then", Some(stake)))));
        let at = |ready, heartbeat| node("u", -9, ready, heartbeat, Some(stake));
        assert_eq!(back.arrival(made, &at("True", "then")), Arrival::Waiting);
        assert_eq!(back.arrival(made, &at("False", "now")), Arrival::Waiting);
        assert_eq!(back.arrival(made, &at("True", "now")), Arrival::Here);
        // a Node that no stake stands for does not become one by being alive
        let unlabelled = node("u", -9, "True", "now", None);
        assert_eq!(back.arrival(made, &unlabelled), Arrival::Waiting);
    }
}
