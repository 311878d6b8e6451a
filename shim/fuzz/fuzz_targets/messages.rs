//! Messages of the task and sandbox APIs: whatever comes is one or is refused, and what has been read can be written and read again.
#![no_main]

use keel_shim::messages::{Any, Call, CheckpointOptions, Create, CreateSandbox, Exec};
use keel_shim::sandbox::pod::{Pod, Surroundings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(any) = Any::parse(bytes) {
        assert_eq!(Any::parse(&any.encode().done()).ok(), Some(any));
    }
    let _ = Create::parse(bytes);
    let _ = CreateSandbox::parse(bytes);
    let pod = Any { type_url: "runtime.v1.PodSandboxConfig".to_owned(), value: bytes.to_vec() };
    if let Ok(pod) = Pod::of(Some(&pod)) {
        let sandbox = Surroundings {
            id: "pod",
            namespace: "k8s.io",
            program: "/shim",
            network_namespace: "",
            user_namespace: "",
            least_oom_score: 0,
        };
        assert!(pod.config(&sandbox)["process"]["noNewPrivileges"] == true);
    }
    let _ = Exec::parse(bytes);
    let _ = Call::of_process(bytes);
    let _ = Call::of_container(bytes);
    let _ = Call::of_checkpoint(bytes);
    let _ = Call::of_update(bytes);
    let _ = CheckpointOptions::parse(bytes);
});
