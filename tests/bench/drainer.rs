//! An account that may do everything, as those of `kubectl drain`'s users may.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

/// A new ServiceAccount of this name in this namespace, and a token of it.
pub async fn token(admin: &kube::Client, namespace: &str, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": name}}));
    accounts
        .create(&PostParams::default(), &account.expect("an account"))
        .await
        .expect("an account");
    let binding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }));
    let binding: ClusterRoleBinding = binding.expect("a binding");
    Api::all(admin.clone())
        .create(&PostParams::default(), &binding)
        .await
        .expect("a binding");
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": 3607},
    });
    let answer: Value = accounts
        .create_subresource("token", name, &PostParams::default(), &request)
        .await
        .expect("a token");
    answer["status"]["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

/// What the audit log calls it.
pub fn user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}
