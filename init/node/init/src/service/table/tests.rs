//! What the table must not say.

use sys::capability::{Capabilities, Capability};

use super::*;
use wire::child::{AgentDesire, Desired, PowerDesire, PowerOffReason};
use wire::{JoinToken, Secret};

#[test]
fn every_name_has_its_entry() {
    let all = SERVICES.iter().chain(RESET_SERVICES);
    let listed: Vec<Name> = all.map(|service| service.name).collect();
    assert_eq!(listed, Name::ALL);
    for name in Name::ALL {
        assert_eq!(name.service().name, *name);
        assert!(!name.service().cgroup.is_empty());
        assert!(name.service().program.starts_with("/usr/bin/"));
    }
}

/// What is required stands earlier in the table, so that there can be no circle.
#[test]
fn what_is_required_comes_before() {
    for service in SERVICES {
        for required in service.requires.iter().chain(service.after) {
            assert!(
                *required < service.name,
                "{} requires {required}",
                service.name
            );
            assert!(required.service().automatic);
        }
    }
}

/// A reset is asked for by whoever stands before the machine: nothing else runs beside it, and however it
/// ends, the machine goes off.
#[test]
fn reset_runs_alone_and_ends_in_power_off() {
    let [reset] = RESET_SERVICES else {
        panic!("one service");
    };
    assert!(reset.automatic && reset.requires.is_empty() && reset.after.is_empty());
    assert!(reset.uninterruptible);
    assert_eq!(reset.effects.up, [Effect::Stop(Reason::Reset)]);
    assert_eq!(reset.effects.failed, [(None, Effect::FailReset)]);
    // a task that hangs in the kernel can't be reaped
    assert_eq!(reset.effects.overdue, [Effect::FailReset]);
    assert!(reset.start_limit.is_some());
    assert!(SERVICES.iter().all(|service| service.name != Name::Reset));
}

#[test]
fn effects_name_services_of_the_table() {
    for service in SERVICES {
        let effects = &service.effects;
        let failed = effects.failed.iter().map(|(_, effect)| effect);
        for effect in effects.up.iter().chain(effects.ended).chain(failed) {
            if let Effect::Hasten(name)
            | Effect::Redo(name)
            | Effect::StartWithoutConfiguration(name) = effect
            {
                assert!(
                    SERVICES.iter().any(|service| service.name == *name),
                    "{name}"
                );
            }
        }
        if let Some(configured) = service.configured {
            assert!(
                service.requires.contains(&configured.by),
                "{}",
                service.name
            );
        }
    }
}

#[test]
fn nothing_that_others_have_a_hand_in_runs_in_the_boot_phase() {
    for name in [Name::Containerd, Name::TpmBroker, Name::Staker, Name::K3s] {
        assert!(name.service().requires.contains(&Name::Measure), "{name}");
    }
}

#[test]
fn no_two_services_share_a_cgroup_or_a_user() {
    for (index, one) in SERVICES.iter().enumerate() {
        for other in &SERVICES[index + 1..] {
            assert_ne!(one.cgroup, other.cgroup);
            if let (Some(one), Some(other)) = (one.user, other.user) {
                assert_ne!(one.id, other.id);
            }
        }
    }
}

fn allowed(name: Name, message: &ToInit) -> bool {
    name.service()
        .rights
        .is_some_and(|rights| rights.allow(message))
}

#[test]
fn who_may_say_what() {
    let token = JoinToken::new(Secret::new(format!("K10{}::x", "ca".repeat(32))));
    let run = AgentDesire::Run {
        node: "edge-0001-0123456789".parse().unwrap(),
        server: "https://192.0.2.1:6443".parse().expect("a URL"),
        token: token.expect("a token"),
        run: 1,
    };
    let stop = AgentDesire::Stop {
        reason: String::new(),
    };
    let off = PowerDesire::Off {
        reason: PowerOffReason::Slashed,
        detail: String::new(),
    };
    for (agent, power) in [
        (run, PowerDesire::On),
        (stop.clone(), PowerDesire::On),
        (stop, off),
    ] {
        let desired = Desired {
            number: 1,
            agent,
            power,
        };
        let message = ToInit::Desired { desired };
        for name in Name::ALL {
            assert_eq!(allowed(*name, &message), *name == Name::Staker, "{name}");
        }
    }
    let network = ToInit::Reached {
        phase: Phase::Network,
    };
    assert!(allowed(Name::Netd, &network));
    assert!(!allowed(Name::Staker, &network));
    let clock = ToInit::Recovered {
        reason: DegradedReason::Clock,
    };
    assert!(allowed(Name::Netd, &clock));
    assert!(!allowed(Name::Staker, &clock));
}

#[test]
fn probe_alone_says_what_others_answer() {
    for service in Probed::ALL {
        let message = ToInit::Probed {
            service: *service,
            fault: None,
        };
        for name in Name::ALL {
            assert_eq!(allowed(*name, &message), *name == Name::Probe, "{name}");
        }
        let probed = SERVICES
            .iter()
            .filter(|entry| entry.probed == Some(*service));
        assert_eq!(probed.count(), 1, "{service}");
    }
}

/// The node's own daemons send keepalives, the others are asked: none is left to itself.
#[test]
fn daemon_that_hangs_is_always_noticed() {
    for service in SERVICES {
        let is_daemon = matches!(service.kind, Kind::Daemon(_));
        let noticed = service.watchdog.is_some() || service.probed.is_some();
        assert_eq!(is_daemon, noticed, "{}", service.name);
        // a task ends, or is ended
        assert!(
            is_daemon || service.start_limit.is_some(),
            "{}",
            service.name
        );
        // k3s would take PID 1 for systemd
        assert!(service.probed.is_none() || service.watchdog.is_none());
    }
}

#[test]
fn what_init_alone_knows_nobody_may_say() {
    for state in [NodeState::Booting, NodeState::Joined, NodeState::Off] {
        for name in Name::ALL {
            assert!(!allowed(*name, &ToInit::State { state }), "{name} {state}");
        }
    }
    for phase in [
        Phase::Init,
        Phase::Mounts,
        Phase::State,
        Phase::Joined,
        Phase::Stopped,
    ] {
        for name in Name::ALL {
            assert!(
                !allowed(*name, &ToInit::Reached { phase }),
                "{name} {phase}"
            );
        }
    }
}

/// Two speakers for one reason would clear each other's.
#[test]
fn each_degraded_reason_has_one_speaker_at_most() {
    for reason in DegradedReason::ALL {
        let speakers = SERVICES
            .iter()
            .filter_map(|service| service.rights)
            .filter(|rights| rights.degraded.contains(reason))
            .count();
        assert!(speakers <= 1, "{reason}");
        if matches!(
            reason,
            DegradedReason::Service
                | DegradedReason::StateDisk
                | DegradedReason::Configuration
                | DegradedReason::Agent
        ) {
            assert_eq!(speakers, 0, "{reason} is for init alone");
        }
    }
}

#[test]
fn services_that_are_not_root_have_just_their_capabilities() {
    let users: Vec<(Name, User)> = SERVICES
        .iter()
        .filter_map(|service| Some((service.name, service.user?)))
        .collect();
    let [
        (Name::TpmBroker, broker),
        (Name::Netd, netd),
        (Name::Metadata, metadata),
        (Name::Staker, staker),
        (Name::Probe, probe),
    ] = users[..]
    else {
        panic!("{users:?}");
    };
    assert_eq!(broker.capabilities, Capabilities::NONE);
    assert_eq!(staker.capabilities, Capabilities::NONE);
    assert_eq!(probe.capabilities, Capabilities::NONE);
    assert_eq!(metadata.capabilities, Capabilities::NONE);
    for service in SERVICES {
        assert_eq!(service.filtered, service.user.is_some());
    }
    assert_eq!(
        netd.capabilities,
        Capabilities::NONE
            .with(Capability::CAP_NET_ADMIN)
            .with(Capability::CAP_NET_BIND_SERVICE)
            .with(Capability::CAP_NET_RAW)
            .with(Capability::CAP_SYS_TIME)
    );
}
