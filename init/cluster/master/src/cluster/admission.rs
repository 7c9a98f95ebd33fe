//! Which Nodes kubelets may create: a ValidatingAdmissionPolicy for the API server, whose parameters
//! the master keeps.
//!
//! A join token names no Node: whoever has one could take any name, and with it what the name's
//! pods are given. The names that the master has admitted stand in ConfigMaps, each with the record of
//! its stake, sharded by the name's last two characters so that a fleet of 100,000 fits (390 names, 50
//! KB each). A kubelet tries to create its Node at every start, so a name stays as long as its stake
//! does. Names of another form, such as those of servers, stand in one more ConfigMap, which the
//! cluster's administrator keeps.
//!
//! Each shard has a binding of its own, by name: where a ConfigMap is missing, no Node is created. The
//! policy says which names exist, not who takes one: see SECURITY.md.

use std::collections::BTreeMap;

use chain::{NODE_NAME_DIGITS, ObjectId};
use serde_json::{Value, json};
use wire::NodeName;

use super::objects::MASTER;

/// The namespace of the ConfigMaps.
pub const NAMESPACE: &str = "k3s-daas";
/// The policy.
pub const POLICY: &str = "k3s-daas-admitted-nodes";
/// What the ConfigMaps' names begin with; the shard follows.
pub const CONFIG_MAP: &str = "k3s-daas-admitted-";
/// The shard of names that no stake stands for.
pub const OTHERS: &str = "others";
/// What a name is that a stake stands for; [`NODE_NAME_DIGITS`] of them.
const NODE_NAMES: &str = "^.+-[0-9a-f]{10}$";
/// How many characters of a name make its shard.
const CHARACTERS: usize = 2;

/// The API of policies and bindings.
const API: &str = "/apis/admissionregistration.k8s.io/v1";

/// The shards of names that stakes stand for.
pub(super) fn shards() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|shard| format!("{shard:02x}"))
}

/// The shard of a name; [`OTHERS`] for one of another form than those of stakes.
pub(super) fn shard(name: &str) -> &str {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.rsplit_once('-')
        .filter(|(id, digits)| {
            !id.is_empty() && digits.len() == NODE_NAME_DIGITS && digits.bytes().all(digit)
        })
        .and_then(|(_, digits)| digits.get(NODE_NAME_DIGITS - CHARACTERS..))
        .unwrap_or(OTHERS)
}

/// The path of a shard's ConfigMap in the API.
pub(super) fn path(shard: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}{shard}")
}

/// The path of the policy in the API.
pub(super) fn policy_path() -> String {
    format!("{API}/validatingadmissionpolicies/{POLICY}")
}

/// The path of a shard's binding in the API.
pub(super) fn binding_path(shard: &str) -> String {
    format!("{API}/validatingadmissionpolicybindings/{CONFIG_MAP}{shard}")
}

/// Whether the API server has this object as the manifest has it: its `spec`, besides what the API
/// server fills in.
pub(super) fn is_in_force(expected: &Value, found: &Value) -> bool {
    covers(&expected["spec"], &found["spec"])
}

fn covers(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            // the defaults of admissionregistration.k8s.io/v1; anything else could make it narrower
            let is_default = |key: &str, value: &Value| match key {
                "matchPolicy" => value == "Equivalent",
                "namespaceSelector" | "objectSelector" => *value == json!({}),
                "scope" => value == "*",
                _ => false,
            };
            expected
                .iter()
                .all(|(key, value)| found.get(key).is_some_and(|found| covers(value, found)))
                && found
                    .iter()
                    .all(|(key, value)| expected.contains_key(key) || is_default(key, value))
        }
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .zip(found)
                    .all(|(one, other)| covers(one, other))
        }
        (expected, found) => expected == found,
    }
}

/// The names of a shard as they were read.
#[derive(Debug)]
pub(super) struct Shard {
    /// The version that a change is for.
    version: String,
    data: BTreeMap<String, String>,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The stake of a record.
    Stake(ObjectId),
    /// Something that the master has not written.
    Administrator,
}

impl Shard {
    /// Reads a ConfigMap.
    pub(super) fn of(config_map: &Value) -> Self {
        let text = |pointer| config_map.pointer(pointer).and_then(Value::as_str);
        let data = config_map.get("data").and_then(Value::as_object);
        let entry =
            |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        Self {
            version: text("/metadata/resourceVersion")
                .unwrap_or_default()
                .to_owned(),
            data: data.into_iter().flatten().filter_map(entry).collect(),
        }
    }

    /// What a name stands for; `None`: no Node of this name may be created.
    pub(super) fn holder(&self, node: &NodeName) -> Option<Holder> {
        let value = self.data.get(node.as_str())?;
        Some(value.parse().map_or(Holder::Administrator, Holder::Stake))
    }

    /// The names of stakes, with their records. What the master has not written is left out.
    pub(super) fn names(&self) -> BTreeMap<NodeName, ObjectId> {
        let entry =
            |(name, record): (&String, &String)| Some((name.parse().ok()?, record.parse().ok()?));
        self.data.iter().filter_map(entry).collect()
    }

    /// The patch of this version that admits a name for a record, or with `None` takes it away. The API
    /// server refuses it (409) where the ConfigMap was changed since.
    pub(super) fn patch(&self, node: &NodeName, record: Option<ObjectId>) -> Value {
        json!({
            "metadata": {"resourceVersion": self.version},
            "data": {node.as_str(): record.map(|record| record.to_string())},
        })
    }
}

/// What the API server has to be given: namespace, ConfigMaps, the master's rights to keep them and to
/// see the policy, the policy and its bindings. `others` are names of Nodes that no stake stands for,
/// such as those of servers with an agent.
pub fn manifest(others: &[String]) -> Value {
    let names: Vec<String> = shards().chain([OTHERS.to_owned()]).collect();
    let config_maps = names.iter().map(|shard| format!("{CONFIG_MAP}{shard}"));
    let config_maps: Vec<String> = config_maps.collect();
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": MASTER, "namespace": NAMESPACE},
            "rules": [{
                "apiGroups": [""], "resources": ["configmaps"], "resourceNames": config_maps,
                "verbs": ["get", "patch"],
            }],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": MASTER, "namespace": NAMESPACE},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": MASTER,
            },
            "subjects": [{"kind": "ServiceAccount", "name": MASTER, "namespace": "kube-system"}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": POLICY},
            "rules": [{
                "apiGroups": ["admissionregistration.k8s.io"], "resourceNames": [POLICY],
                "resources": ["validatingadmissionpolicies"], "verbs": ["get"],
            }, {
                "apiGroups": ["admissionregistration.k8s.io"], "resourceNames": config_maps,
                "resources": ["validatingadmissionpolicybindings"], "verbs": ["get"],
            }],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": POLICY},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": POLICY,
            },
            "subjects": [{"kind": "ServiceAccount", "name": MASTER, "namespace": "kube-system"}],
        }),
        policy(),
    ];
    for name in &names {
        let mut config_map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("{CONFIG_MAP}{name}"), "namespace": NAMESPACE},
        });
        let others = others.iter().filter(|other| shard(other) == name);
        let others: BTreeMap<&str, &str> = others.map(|other| (other.as_str(), "")).collect();
        // without data, so that applying it again takes nothing away
        if !others.is_empty() {
            config_map["data"] = json!(others);
        }
        items.push(config_map);
        items.push(binding(name));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The binding of a shard.
pub(super) fn binding(shard: &str) -> Value {
    let name = format!("{CONFIG_MAP}{shard}");
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": POLICY,
            "paramRef": {
                "name": name, "namespace": NAMESPACE, "parameterNotFoundAction": "Deny",
            },
            "validationActions": ["Deny"],
        },
    })
}

/// The policy.
pub(super) fn policy() -> Value {
    // of its name, which nobody can change, unlike labels
    let shard = format!("params.metadata.name.substring({})", CONFIG_MAP.len());
    let here = format!(
        "object.metadata.name.matches('{NODE_NAMES}') ? object.metadata.name.endsWith({shard}) : \
         {shard} == '{OTHERS}'"
    );
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": POLICY},
        "spec": {
            "failurePolicy": "Fail",
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["nodes"],
            }]},
            "matchConditions": [
                {"name": "kubelet", "expression": "'system:nodes' in request.userInfo.groups"},
            ],
            "variables": [{"name": "here", "expression": here}],
            "validations": [{
                "expression": "!variables.here || (has(params.data) && \
                               object.metadata.name in params.data)",
                "message": "the master has not admitted a node of this name",
                "reason": "Forbidden",
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(kind: &str) -> Vec<Value> {
        let manifest = manifest(&["server-1".to_owned()]);
        let items = manifest["items"].as_array().unwrap().iter();
        items.filter(|item| item["kind"] == kind).cloned().collect()
    }

    #[test]
    fn manifest_binds_every_shard_and_fails_closed() {
        let (maps, bindings) = (
            items("ConfigMap"),
            items("ValidatingAdmissionPolicyBinding"),
        );
        assert_eq!((maps.len(), bindings.len()), (257, 257));
        for (map, binding) in maps.iter().zip(bindings) {
            let name = &map["metadata"]["name"];
            let param = &binding["spec"]["paramRef"];
            assert_eq!(&param["name"], name);
            assert_eq!(param["parameterNotFoundAction"], "Deny");
            let others = name == "k3s-daas-admitted-others";
            let data = others.then(|| json!({"server-1": ""}));
            assert_eq!(map.get("data"), data.as_ref());
        }
        let policy = &items("ValidatingAdmissionPolicy")[0];
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        // what etcd and the API server take in one object, and a folder of manifests
        assert!(manifest(&[]).to_string().len() < 256 * 1024);
    }

    #[test]
    fn shard_of_a_full_fleet_fits_a_config_map() {
        let name = format!("{}-0123456789", "n".repeat(50));
        let record = ObjectId::from_bytes([7; 32]).to_string();
        let entry = json!({name: record}).to_string().len();
        // a ConfigMap takes 1 MiB; shards of hashes are no more than twice the mean
        assert!(entry * 2 * 100_000 / 256 < 256 * 1024);
    }

    #[test]
    fn shard_is_of_names_of_stakes_alone() {
        assert_eq!(shard("edge-0001-07070707ab"), "ab");
        for other in [
            "server-1",
            "edge",
            "-07070707ab",
            "edge-0707070AB0",
            "edge-07070707abc",
        ] {
            assert_eq!(shard(other), OTHERS, "{other}");
        }
    }

    #[test]
    fn names_are_read_as_they_were_written() {
        let node: NodeName = "edge-0001-07070707ab".parse().unwrap();
        let record = ObjectId::from_bytes([7; 32]);
        let read = json!({"metadata": {"resourceVersion": "5"}, "data": {"UPPER": "0x1"}});
        let patch = Shard::of(&read).patch(&node, Some(record));
        assert_eq!(patch["metadata"]["resourceVersion"], "5");
        let written = Shard::of(&patch);
        assert_eq!(written.names(), BTreeMap::from([(node.clone(), record)]));
        assert_eq!(written.holder(&node), Some(Holder::Stake(record)));
        let taken = written.patch(&node, None);
        assert_eq!(taken["data"]["edge-0001-07070707ab"], Value::Null);
        assert_eq!(Shard::of(&taken).holder(&node), None);
        let by_hand = Shard::of(&json!({"data": {"edge-0001-07070707ab": ""}}));
        assert_eq!(by_hand.holder(&node), Some(Holder::Administrator));
        assert_eq!(by_hand.names(), BTreeMap::new());
    }

    #[test]
    fn object_with_defaults_is_in_force_and_a_weaker_one_is_not() {
        let policy = policy();
        let with = |pointer: &str, key: &str, value: Value| {
            let mut changed = policy.clone();
            changed.pointer_mut(pointer).unwrap()[key] = value;
            changed
        };
        let rules = "/spec/matchConstraints/resourceRules/0";
        for filled_in in [
            policy.clone(),
            with("/spec/matchConstraints", "matchPolicy", json!("Equivalent")),
            with("/spec/matchConstraints", "objectSelector", json!({})),
            with(rules, "scope", json!("*")),
            with("/metadata", "uid", json!("u")),
        ] {
            assert!(is_in_force(&policy, &filled_in), "{filled_in}");
        }
        for weaker in [
            json!({}),
            with("/spec", "failurePolicy", json!("Ignore")),
            with("/spec", "matchConditions", json!([])),
            with("/spec/validations/0", "expression", json!("true")),
            with(
                "/spec/matchConstraints",
                "objectSelector",
                json!({"matchLabels": {"a": "b"}}),
            ),
            with("/spec/matchConstraints", "excludeResourceRules", json!([])),
            with(rules, "operations", json!(["UPDATE"])),
        ] {
            assert!(!is_in_force(&policy, &weaker), "{weaker}");
        }
        let bound = binding("ab");
        let mut audits = bound.clone();
        audits["spec"]["validationActions"] = json!(["Audit"]);
        assert!(is_in_force(&bound, &bound) && !is_in_force(&bound, &audits));
    }
}
