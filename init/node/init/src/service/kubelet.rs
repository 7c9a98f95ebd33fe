//! The kubelet's configuration, beside what k3s sets itself.
//!
//! The agent takes the file with `--kubelet-arg config=`; k3s lays it beside its own drop-ins, after its defaults.
//! What is kept back from pods depends on the machine's size: docs/reservations.md has the table and the reasons.

use std::thread::available_parallelism;

use rustix::system::sysinfo;
use serde_json::{Value, json};

/// How often the kubelet reports its status where nothing has changed. Its default is five minutes, give or take a
/// half: k3s's controller of network policies waits for a report that is newer than its own start, and until then
/// pods run without any. A report is one PATCH of some KB, as often as the kubelet looks at itself anyway
/// (`nodeStatusUpdateFrequency`).
const STATUS_REPORT: &str = "10s";

const MIB: u64 = 1024 * 1024;
/// What Linux has on every machine (include/linux/threads.h, `PID_MAX_DEFAULT`).
const PROCESSES: u64 = 32_768;
/// The kernel's bounds of processes and threads, of which the lower one counts.
const PROCESS_LIMITS: [&str; 2] = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];

/// How large a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// In bytes.
    memory: u64,
    processors: u64,
    /// How many processes and threads there can be.
    processes: u64,
}

impl Size {
    /// This machine's.
    pub(super) fn of_this_machine() -> Self {
        let information = sysinfo();
        let limits = PROCESS_LIMITS
            .iter()
            .filter_map(|path| files::read_text(path, 64).ok()?.parse().ok());
        Self {
            memory: information
                .totalram
                .saturating_mul(u64::from(information.mem_unit)),
            processors: available_parallelism().map_or(1, |count| count.get() as u64),
            processes: limits.min().unwrap_or(PROCESSES),
        }
    }

    /// For k3s, its kubelet, containerd and the shims.
    fn of_kubernetes(self) -> Share {
        Share {
            // the agent takes about 275 MB, and each pod a shim of some MB
            memory: (320 * MIB + self.memory / 50).min(1536 * MIB),
            processor_thousandths: kubernetes_processors(self.processors),
            // a shim has a dozen threads
            processes: (self.processes / 8).clamp(512, 2048),
        }
    }

    /// For PID 1, staker, netd, the broker and the kernel's own.
    fn of_system(self) -> Share {
        Share {
            memory: (96 * MIB + self.memory / 100).min(1024 * MIB),
            processor_thousandths: 50,
            processes: (self.processes / 16).clamp(256, 1024),
        }
    }

    /// What has to be free, or pods are evicted before the kernel has to kill.
    fn free_memory(self) -> u64 {
        (self.memory / 20).clamp(64 * MIB, 512 * MIB)
    }

    /// Processes and threads of one pod: eight such pods, and the node still starts others.
    fn of_one_pod(self) -> u64 {
        (self.processes / 8).clamp(512, 4096)
    }
}

/// 6 % of the first processor, 1 % of the second, half a percent of the third and fourth, a quarter of each other:
/// the curve by which GKE and AKS reserve.
fn kubernetes_processors(processors: u64) -> u64 {
    let tenths: u64 = (1..=processors.min(1024))
        .map(|number| match number {
            1 => 600,
            2 => 100,
            3 | 4 => 50,
            _ => 25,
        })
        .sum();
    tenths / 10
}

/// A part of the machine that is kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    /// In bytes.
    memory: u64,
    processor_thousandths: u64,
    processes: u64,
}

impl Share {
    fn to_json(self) -> Value {
        json!({
            "cpu": format!("{}m", self.processor_thousandths),
            "memory": mebibytes(self.memory),
            "pid": self.processes.to_string(),
        })
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}Mi", bytes / MIB)
}

/// A document of `kubelet.config.k8s.io/v1beta1`; the kubelet reads YAML, and so JSON.
///
/// It bounds the memory and the processes of all pods together by what is not kept back (`enforceNodeAllocatable`), in
/// the cgroup `/kubepods`.
pub(super) fn configuration(size: Size) -> Vec<u8> {
    let document = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "nodeStatusReportFrequency": STATUS_REPORT,
        "podPidsLimit": size.of_one_pod(),
        "kubeReserved": size.of_kubernetes().to_json(),
        "systemReserved": size.of_system().to_json(),
        "enforceNodeAllocatable": ["pods"],
        "evictionHard": {
            "memory.available": mebibytes(size.free_memory()),
            "pid.available": "5%",
            // images and volumes lie on the state disk, with the staker's journal
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "10%",
        },
    });
    document.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * MIB;

    fn document(size: Size) -> Value {
        serde_json::from_slice(&configuration(size)).unwrap()
    }

    const fn size(memory: u64, processors: u64, processes: u64) -> Size {
        Size {
            memory,
            processors,
            processes,
        }
    }

    /// The least that a node is run on, the machine of the scenarios, and a large server.
    const SIZES: [Size; 4] = [
        size(GIB, 1, 7_800),
        size(2 * GIB, 2, 15_700),
        size(16 * GIB, 4, 32_768),
        size(512 * GIB, 128, 131_072),
    ];

    #[test]
    fn document_is_the_kubelets() {
        let document = document(SIZES[1]);
        assert_eq!(document["apiVersion"], "kubelet.config.k8s.io/v1beta1");
        assert_eq!(document["kind"], "KubeletConfiguration");
        assert_eq!(document["nodeStatusReportFrequency"], "10s");
        assert_eq!(document["enforceNodeAllocatable"], json!(["pods"]));
    }

    #[test]
    fn reservations_follow_the_machines_size() {
        let of = |size: Size| {
            let document = document(size);
            let text = |pointer: &str| {
                let value = document.pointer(pointer).unwrap();
                value.as_str().map_or(value.to_string(), str::to_owned)
            };
            [
                text("/kubeReserved/memory"),
                text("/kubeReserved/cpu"),
                text("/kubeReserved/pid"),
                text("/systemReserved/memory"),
                text("/systemReserved/cpu"),
                text("/systemReserved/pid"),
                text("/evictionHard/memory.available"),
                text("/podPidsLimit"),
            ]
            .join(" ")
        };
        // the table of docs/reservations.md
        let expected = [
            "340Mi 60m 975 106Mi 50m 487 64Mi 975",
            "360Mi 70m 1962 116Mi 50m 981 102Mi 1962",
            "647Mi 80m 2048 259Mi 50m 1024 512Mi 4096",
            "1536Mi 390m 2048 1024Mi 50m 1024 512Mi 4096",
        ];
        assert_eq!(SIZES.map(of), expected);
    }

    #[test]
    fn pods_keep_half_of_every_machine_and_the_rest_is_kept_back() {
        for size in SIZES {
            let (kubernetes, system) = (size.of_kubernetes(), size.of_system());
            let kept = kubernetes.memory + system.memory + size.free_memory();
            assert!(kept <= size.memory / 2, "{size:?}");
            let processes = kubernetes.processes + system.processes;
            // one pod that forks for ever takes neither the node's processes nor all other pods'
            assert!(size.of_one_pod() + processes < size.processes, "{size:?}");
        }
    }

    #[test]
    fn this_machine_has_a_size() {
        let size = Size::of_this_machine();
        assert!(size.memory > 64 * MIB && size.processors > 0 && size.processes > 100);
        assert!(!configuration(size).is_empty());
    }
}
