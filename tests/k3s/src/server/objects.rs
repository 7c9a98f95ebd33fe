//! What the Kubernetes API does with every object alike: metadata, labels, selectors, pages,
//! merge patches.
//!
//! Source: Kubernetes, `apimachinery/pkg/api/validation`, `pkg/labels`, and RFC 7396.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The group of kinds that show metadata alone.
const METADATA_GROUP: &str = "as=PartialObjectMetadata";

/// An object is not as the API demands.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// A field is wrong.
    #[error("{field}: Invalid value: {found:?}: {expected}")]
    Invalid {
        /// Which.
        field: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// Another kind than the path's, or no object at all.
    #[error("the object provided is unrecognized: expected {0}")]
    Kind(&'static str),
    /// The kernel gave no randomness.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
}

fn invalid(
    field: impl Into<String>,
    found: impl Into<String>,
    expected: &'static str,
) -> ObjectError {
    ObjectError::Invalid {
        field: field.into(),
        found: found.into(),
        expected,
    }
}

/// The kind and the version are those of the path.
pub(super) fn check_kind(object: &Value, kind: &'static str) -> Result<(), ObjectError> {
    let field = |name: &str| object.get(name).and_then(Value::as_str);
    if object.is_object() && field("kind") == Some(kind) && field("apiVersion") == Some("v1") {
        return Ok(());
    }
    Err(ObjectError::Kind(kind))
}

/// Name, labels and annotations are valid.
pub(super) fn check_metadata(object: &Value) -> Result<String, ObjectError> {
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !is_subdomain(name) {
        let expected = "a lowercase RFC 1123 subdomain";
        return Err(invalid("metadata.name", name, expected));
    }
    for (key, value) in strings(object, "labels")? {
        check_key("metadata.labels", &key)?;
        if !is_label_value(&value) {
            let expected = "a valid label must be an empty string or consist of alphanumeric \
                            characters, '-', '_' or '.', at most 63";
            return Err(invalid(format!("metadata.labels[{key}]"), value, expected));
        }
    }
    for (key, _) in strings(object, "annotations")? {
        check_key("metadata.annotations", &key)?;
    }
    Ok(name.to_owned())
}

/// A map of strings in the metadata.
pub(super) fn strings(
    object: &Value,
    field: &'static str,
) -> Result<BTreeMap<String, String>, ObjectError> {
    match object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
    {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(map) => serde_json::from_value(map.clone()).map_err(|_| {
            invalid(
                format!("metadata.{field}"),
                map.to_string(),
                "a map of strings",
            )
        }),
    }
}

/// `[prefix/]name`: a subdomain, and at most 63 characters.
fn check_key(field: &str, key: &str) -> Result<(), ObjectError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_none_or(is_subdomain) && !name.is_empty() && is_label_value(name) {
        return Ok(());
    }
    Err(invalid(field, key, "a qualified name"))
}

pub(super) fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_label_value(text: &str) -> bool {
    let outer = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && outer(bytes.first())
        && outer(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Gives a new object what the API server gives it.
pub(super) fn stamp(object: &mut Value) -> Result<(), ObjectError> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random)?;
    let hex = hex::encode(random);
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
    let uid = [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ]
    .join("-");
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".into(), json!(uid));
        metadata.insert("creationTimestamp".into(), json!(now()));
    }
    renew(object, None);
    Ok(())
}

/// The version of an object, another after each change.
pub(super) fn version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion")?.as_str()
}

/// Gives an object that was changed the version after the one it had `before`.
pub(super) fn renew(object: &mut Value, before: Option<&str>) {
    let number = before.and_then(|before| before.parse::<u64>().ok());
    let next = number.unwrap_or_default() + 1;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), json!(next.to_string()));
    }
}

/// Now, in whole seconds of UTC, as metadata has it.
pub(super) fn now() -> String {
    OffsetDateTime::now_utc()
        .replace_nanosecond(0)
        .ok()
        .and_then(|now| now.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// JSON merge patch (RFC 7396).
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The query of a list.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// Labels that must be there, with a value or with any.
    labels: Vec<(String, Option<String>)>,
    /// The most objects of one page.
    limit: Option<usize>,
    /// The last name of the page before.
    after: Option<String>,
}

impl Query {
    /// Reads a request's query. Only equality and existence of labels.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ObjectError> {
        let mut parsed = Self::default();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).ok_or_else(|| invalid(key, value, "percent-encoding"))?;
            match key {
                "labelSelector" => {
                    for term in value.split(',').filter(|term| !term.is_empty()) {
                        let (label, wanted) = match term.split_once('=') {
                            Some((label, wanted)) => (label, Some(wanted.trim_start_matches('='))),
                            None => (term, None),
                        };
                        check_key("labelSelector", label)?;
                        parsed
                            .labels
                            .push((label.to_owned(), wanted.map(str::to_owned)));
                    }
                }
                "limit" => {
                    let limit = value.parse().map_err(|_| invalid(key, value, "a number"))?;
                    parsed.limit = Some(limit).filter(|limit| *limit > 0);
                }
                "continue" => parsed.after = Some(value),
                "timeoutSeconds" | "fieldManager" => {}
                _ => return Err(invalid("query", key, "something that the double knows")),
            }
        }
        Ok(parsed)
    }

    fn selects(&self, object: &Value) -> bool {
        let labels = strings(object, "labels").unwrap_or_default();
        self.labels.iter().all(|(label, wanted)| {
            labels
                .get(label)
                .is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
        })
    }

    /// One page of objects that are sorted by name.
    pub(super) fn list<'a>(
        &self,
        kind: &str,
        objects: impl Iterator<Item = (&'a String, &'a Value)>,
        accept: &str,
    ) -> Value {
        let metadata_alone = accept.contains(METADATA_GROUP);
        let mut items = Vec::new();
        let mut last = "";
        let mut next = String::new();
        for (name, object) in objects {
            let before = self.after.as_ref().is_some_and(|after| name <= after);
            if before || !self.selects(object) {
                continue;
            }
            if self.limit.is_some_and(|limit| items.len() >= limit) {
                next = last.to_owned();
                break;
            }
            last = name;
            items.push(if metadata_alone {
                metadata_of(object)
            } else {
                object.clone()
            });
        }
        // Go's encoder writes a list that never got an item so
        let items = match items.is_empty() {
            true => Value::Null,
            false => Value::Array(items),
        };
        let (kind, version) = if metadata_alone {
            ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1")
        } else {
            (format!("{kind}List"), "v1")
        };
        json!({
            "kind": kind, "apiVersion": version,
            "metadata": {"resourceVersion": "1", "continue": next}, "items": items,
        })
    }
}

/// What is left of an object where only metadata is asked for.
fn metadata_of(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_default(),
    })
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let mut decoded = [0];
                hex::decode_to_slice(digits, &mut decoded).ok()?;
                bytes.extend(decoded);
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(value: &str) -> Value {
        json!({"metadata": {"name": "a", "labels": {"k3s-daas.local/node": value}}})
    }

    #[test]
    fn metadata_is_checked_as_the_api_checks_it() {
        assert_eq!(check_metadata(&labelled("edge-0001")).unwrap(), "a");
        let long = "a".repeat(64);
        for wrong in ["-a", "a/b", "0x ", long.as_str()] {
            assert!(check_metadata(&labelled(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["", "A", "a_b", "a..b"] {
            assert!(
                check_metadata(&json!({"metadata": {"name": wrong}})).is_err(),
                "{wrong}"
            );
        }
        let key = json!({"metadata": {"name": "a", "annotations": {"a/b/c": ""}}});
        assert!(check_metadata(&key).is_err());
    }

    #[test]
    fn lists_are_selected_paged_and_cut_to_metadata() {
        let objects: BTreeMap<String, Value> = ["a", "b", "c"]
            .map(|name| {
                let mut object = labelled(if name == "b" { "other" } else { "one" });
                merge(
                    &mut object,
                    &json!({"metadata": {"name": name}, "data": {"x": "secret"}}),
                );
                (name.to_owned(), object)
            })
            .into();
        let page = |query: &str, accept: &str| {
            let list = Query::parse(Some(query))
                .unwrap()
                .list("Secret", objects.iter(), accept);
            let items = list["items"].as_array().unwrap().clone();
            let names = items
                .iter()
                .map(|item| item["metadata"]["name"].as_str().unwrap());
            (names.collect::<Vec<_>>().concat(), list.clone())
        };
        assert_eq!(page("", "").0, "abc");
        let one = "labelSelector=k3s-daas.local%2Fnode%3Done";
        assert_eq!(page(one, "").0, "ac");
        assert_eq!(page("labelSelector=k3s-daas.local/node", "").0, "abc");
        let (names, list) = page(
            "limit=2",
            "application/json;as=PartialObjectMetadataList;v=v1",
        );
        assert_eq!(names, "ab");
        assert_eq!(list["metadata"]["continue"], "b");
        assert!(!list.to_string().contains("secret"));
        let (names, list) = page("limit=2&continue=b", "");
        assert_eq!(
            (names.as_str(), &list["metadata"]["continue"]),
            ("c", &json!(""))
        );
        assert!(Query::parse(Some("fieldSelector=x")).is_err());
    }
}
