//! Which Nodes kubelets may create: a ValidatingAdmissionPolicy for the API server, whose parameters
//! the master keeps.
//!
//! A join token names no Node: whoever has one could take any name, and with it what the name's
//! pods are given. The names that the master has let in stand in ConfigMaps, each with the record of
//! its stake, sharded by the name's last two characters so that a fleet of 100,000 fits (390 names, 50
//! KB each). A kubelet tries to create its Node at every start, so a name stays as long as its stake
//! does. Names of another form, such as those of servers, stand in one more ConfigMap, which the
//! cluster's administrator keeps.
//!
//! Each shard has a binding of its own, by name: where a ConfigMap is missing, no Node is created.

use std::collections::BTreeMap;

use chain::ObjectId;
use serde_json::{Value, json};
use wire::NodeName;

use super::objects::MASTER;

/// The namespace of the ConfigMaps.
pub const NAMESPACE: &str = "k3s-daas";
/// The policy.
pub const POLICY: &str = "k3s-daas-admitted-nodes";
/// What the ConfigMaps' names begin with; the shard follows.
pub const CONFIG_MAP: &str = "k3s-daas-admitted-";
/// The label of a ConfigMap that names its shard.
pub const SHARD: &str = "k3s-daas.local/shard";
/// The shard of names that no stake stands for.
pub const OTHERS: &str = "others";
/// What a name is that a stake stands for.
const NODE_NAMES: &str = "^.+-[0-9a-f]{10}$";
/// How many characters of a name make its shard.
const CHARACTERS: usize = 2;

/// The shards of names that stakes stand for.
pub(super) fn shards() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|shard| format!("{shard:02x}"))
}

/// The shard of a name that a stake stands for.
pub(super) fn shard(node: &NodeName) -> &str {
    let name = node.as_str();
    name.get(name.len().saturating_sub(CHARACTERS)..)
        .unwrap_or(OTHERS)
}

/// The path of a shard's ConfigMap in the API.
pub(super) fn path(shard: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}{shard}")
}

/// The patch that lets a name in, or takes it away.
pub(super) fn patch(node: &NodeName, record: Option<ObjectId>) -> Value {
    json!({"data": {node.as_str(): record.map(|record| record.to_string())}})
}

/// The names of a shard, with their records. What the master has not written is left out.
pub(super) fn names(config_map: &Value) -> BTreeMap<NodeName, ObjectId> {
    let data = config_map.get("data").and_then(Value::as_object);
    let entry = |(name, record): (&String, &Value)| {
        Some((name.parse().ok()?, record.as_str()?.parse().ok()?))
    };
    data.into_iter().flatten().filter_map(entry).collect()
}

/// What the API server has to be given: namespace, ConfigMaps, the master's right to keep them, the
/// policy and its bindings.
pub fn manifest() -> Value {
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": MASTER, "namespace": NAMESPACE},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": MASTER, "namespace": NAMESPACE},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": MASTER,
            },
            "subjects": [{"kind": "ServiceAccount", "name": MASTER, "namespace": "kube-system"}],
        }),
        policy(),
    ];
    for shard in shards().chain([OTHERS.to_owned()]) {
        let name = format!("{CONFIG_MAP}{shard}");
        items.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {SHARD: shard}},
        }));
        items.push(json!({
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
        }));
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn policy() -> Value {
    let shard = format!("params.metadata.labels['{SHARD}']");
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
                "message": "the master has not let a node of this name in",
                "reason": "Forbidden",
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_binds_every_shard_and_fails_closed() {
        let manifest = manifest();
        let items = manifest["items"].as_array().unwrap();
        let of = |kind: &str| -> Vec<&Value> {
            items.iter().filter(|item| item["kind"] == kind).collect()
        };
        let (maps, bindings) = (of("ConfigMap"), of("ValidatingAdmissionPolicyBinding"));
        assert_eq!((maps.len(), bindings.len()), (257, 257));
        for (map, binding) in maps.iter().zip(bindings) {
            let name = &map["metadata"]["name"];
            let shard = map["metadata"]["labels"][SHARD].as_str().unwrap();
            assert_eq!(name, &format!("{CONFIG_MAP}{shard}"));
            let param = &binding["spec"]["paramRef"];
            assert_eq!(&param["name"], name);
            assert_eq!(param["parameterNotFoundAction"], "Deny");
            assert!(
                map.get("data").is_none(),
                "applied again, it takes nothing away"
            );
        }
        assert_eq!(
            of("ValidatingAdmissionPolicy")[0]["spec"]["failurePolicy"],
            "Fail"
        );
        // what etcd and the API server take in one object, and a folder of manifests
        assert!(manifest.to_string().len() < 256 * 1024);
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
    fn names_are_read_as_they_were_written() {
        let node: NodeName = "edge-0001-07070707ab".parse().unwrap();
        let record = ObjectId::from_bytes([7; 32]);
        assert_eq!(shard(&node), "ab");
        let map = patch(&node, Some(record));
        assert_eq!(names(&map), BTreeMap::from([(node.clone(), record)]));
        assert_eq!(
            patch(&node, None)["data"]["edge-0001-07070707ab"],
            Value::Null
        );
        assert_eq!(
            names(&json!({"data": {"edge": "junk", "UPPER": "0x1"}})),
            BTreeMap::new()
        );
    }
}
