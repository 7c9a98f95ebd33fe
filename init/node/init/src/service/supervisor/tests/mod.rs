//! Lives of services under a clock that the test sets.

mod hanging;

use super::*;
use crate::service::machine::{GRACE, SETTLED};
use crate::service::{Kind, Readiness, SERVICES};
use wire::exit;

const FAILED: Exit = Exit::Status(1);

/// A supervisor, its clock, and what it said to do.
struct Scene {
    supervisor: Supervisor,
    now: Duration,
}

impl Scene {
    /// Without watchdogs: nothing has to send keepalives.
    fn new() -> Self {
        let unwatched = SERVICES.iter().map(|service| {
            let service = Service {
                watchdog: None,
                ..**service
            };
            &*Box::leak(Box::new(service))
        });
        Self::of(Vec::leak(unwatched.collect()))
    }

    fn of(services: &'static [&'static Service]) -> Self {
        Self {
            supervisor: Supervisor::new(services),
            now: Duration::from_secs(1),
        }
    }

    fn plan(&mut self) -> Vec<Command> {
        self.supervisor.plan(self.now)
    }

    fn ready(&mut self, name: Name) -> bool {
        self.supervisor.ready(name, self.now)
    }

    fn exited(&mut self, name: Name, exit: &Exit) -> Ended {
        self.supervisor.exited(name, exit, self.now)
    }

    fn stage(&self, name: Name) -> &'static str {
        self.supervisor.stage(name).name()
    }

    /// Goes to the next moment at which something is due.
    fn advance(&mut self) -> Duration {
        let deadline = self.supervisor.deadline().unwrap();
        assert!(deadline > self.now, "a deadline that has passed would spin");
        let passed = deadline - self.now;
        self.now = deadline;
        passed
    }

    /// Everything up that starts by itself, without watchdogs.
    fn up() -> Self {
        Self::new().settled()
    }

    /// The same with watchdogs.
    fn watched() -> Self {
        Self::of(SERVICES).settled()
    }

    fn settled(self) -> Self {
        let mut scene = self;
        for _ in 0..Name::ALL.len() {
            for command in scene.plan() {
                let Command::Start(name) = command else {
                    panic!("{command:?}");
                };
                match name.service().kind {
                    Kind::Daemon(_) => assert!(scene.ready(name)),
                    Kind::Task { .. } => {
                        assert_eq!(scene.exited(name, &Exit::Status(0)), Ended::Done);
                    }
                }
            }
        }
        assert!(scene.plan().is_empty());
        scene
    }
}

#[test]
fn a_service_starts_when_what_it_requires_is_up() {
    let mut scene = Scene::new();
    assert_eq!(
        scene.plan(),
        [
            Command::Start(Name::State),
            Command::Start(Name::Configure),
            Command::Start(Name::TeeReport)
        ]
    );
    assert!(scene.plan().is_empty(), "nothing starts twice");
    scene.exited(Name::TeeReport, &Exit::Status(0));
    scene.exited(Name::Configure, &Exit::Status(0));
    assert_eq!(scene.plan(), [Command::Start(Name::Netd)]);
    scene.exited(Name::State, &Exit::Status(0));
    assert_eq!(scene.plan(), [Command::Start(Name::Measure)]);
    assert!(scene.ready(Name::Netd));
    assert!(!scene.ready(Name::Netd), "ready once");
    assert!(scene.plan().is_empty(), "the boot phase is not over");
    scene.exited(Name::Measure, &Exit::Status(0));
    assert_eq!(
        scene.plan(),
        [
            Command::Start(Name::Containerd),
            Command::Start(Name::TpmBroker)
        ]
    );
    scene.exited(Name::TpmBroker, &Exit::Status(0));
    assert_eq!(scene.plan(), [Command::Start(Name::Staker)]);
    scene.supervisor.want(Name::K3s);
    assert!(scene.plan().is_empty());
    assert!(!scene.supervisor.has_its_requirements(Name::K3s));
    assert!(scene.ready(Name::Containerd));
    assert!(scene.supervisor.has_its_requirements(Name::K3s));
    assert_eq!(
        scene.plan(),
        [
            Command::Start(Name::K3s),
            Command::Start(Name::Probe),
            Command::Start(Name::LastEnd)
        ]
    );
}

#[test]
fn a_daemon_with_nothing_to_do_is_done_and_one_that_fails_is_not() {
    let staker_starts = |report: &mut dyn FnMut(&mut Scene)| {
        let mut scene = Scene::new();
        scene.plan();
        for name in [Name::State, Name::Configure] {
            scene.exited(name, &Exit::Status(0));
        }
        scene.plan();
        scene.ready(Name::Netd);
        scene.exited(Name::Measure, &Exit::Status(0));
        scene.plan();
        scene.ready(Name::TpmBroker);
        report(&mut scene);
        let starts = scene.plan().contains(&Command::Start(Name::Staker));
        (starts, scene.stage(Name::TeeReport))
    };
    assert_eq!(staker_starts(&mut |_| {}), (false, "starting"));
    assert_eq!(
        staker_starts(&mut |scene| {
            let ended = scene.exited(Name::TeeReport, &Exit::Status(0));
            assert_eq!(ended, Ended::Done);
        }),
        (true, "done")
    );
    let ready = |scene: &mut Scene| assert!(scene.ready(Name::TeeReport));
    assert_eq!(staker_starts(&mut { ready }), (true, "ready"));
    // one that has taken up its work is missed when it ends
    assert_eq!(
        staker_starts(&mut |scene| {
            ready(scene);
            let ended = scene.exited(Name::TeeReport, &Exit::Status(0));
            assert!(matches!(ended, Ended::Failed { failures: 1, .. }));
        }),
        (false, "waiting")
    );
    // what is waited for is waited for some failures long
    let fails = |times: u32| {
        move |scene: &mut Scene| {
            for failure in 1..=times {
                scene.exited(Name::TeeReport, &FAILED);
                while failure < times && scene.stage(Name::TeeReport) == "waiting" {
                    scene.advance();
                    scene.plan();
                }
            }
        }
    };
    assert_eq!(staker_starts(&mut fails(1)), (false, "waiting"));
    let settled = fails(Name::TeeReport.service().settled.failures);
    assert_eq!(staker_starts(&mut { settled }), (true, "waiting"));
}

/// A node whose configuration is there, and whose state is not.
fn without_state() -> Scene {
    let mut scene = Scene::new();
    scene.plan();
    scene.exited(Name::Configure, &Exit::Status(0));
    assert_eq!(scene.plan(), [Command::Start(Name::Netd)]);
    // nothing else has a deadline
    assert!(scene.ready(Name::Netd));
    scene.exited(Name::TeeReport, &Exit::Status(0));
    scene
}

#[test]
fn state_failing_for_good_ends_the_boot_phase_at_once() {
    let mut scene = without_state();
    scene.exited(Name::State, &Exit::Status(exit::STATE_FAILED.into()));
    assert_eq!(scene.plan(), [Command::Start(Name::Measure)]);
}

#[test]
fn state_failing_for_a_while_keeps_the_boot_phase() {
    let mut scene = without_state();
    let failures = Name::State.service().settled.failures;
    let begun = scene.now;
    for _ in 1..failures {
        scene.exited(Name::State, &FAILED);
        assert!(scene.plan().is_empty(), "it may pass by itself");
        scene.advance();
        assert_eq!(scene.plan(), [Command::Start(Name::State)]);
    }
    assert!(
        scene.now - begun > Duration::from_secs(60),
        "too short a while"
    );
    scene.exited(Name::State, &FAILED);
    assert_eq!(scene.plan(), [Command::Start(Name::Measure)]);
}

#[test]
fn state_opening_late_ends_the_boot_phase_then() {
    let mut scene = without_state();
    for _ in 0..5 {
        scene.exited(Name::State, &Exit::Signal(9));
        scene.advance();
        assert_eq!(scene.plan(), [Command::Start(Name::State)]);
    }
    scene.exited(Name::State, &Exit::Status(0));
    assert_eq!(scene.plan(), [Command::Start(Name::Measure)]);
}

#[test]
fn the_agent_does_not_start_by_itself() {
    let scene = Scene::up();
    assert_eq!(scene.stage(Name::K3s), "idle");
    assert_eq!(scene.stage(Name::Staker), "ready");
}

#[test]
fn a_task_is_not_ready_before_it_has_ended() {
    let mut scene = Scene::new();
    scene.plan();
    assert!(!scene.ready(Name::State));
    assert_eq!(scene.stage(Name::State), "starting");
}

#[test]
fn a_crash_starts_again_after_a_growing_wait_and_stops_nothing_else() {
    let mut scene = Scene::up();
    for (failures, milliseconds) in (1..).zip([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
    {
        let wait = Duration::from_millis(milliseconds);
        assert_eq!(
            scene.exited(Name::Containerd, &Exit::Signal(9)),
            Ended::Failed { failures, wait }
        );
        assert!(scene.plan().is_empty());
        assert_eq!(scene.advance(), wait);
        assert_eq!(scene.plan(), [Command::Start(Name::Containerd)]);
        assert!(scene.ready(Name::Containerd));
    }
}

#[test]
fn a_daemon_that_was_up_long_enough_waits_little_again() {
    let mut scene = Scene::up();
    for _ in 0..4 {
        scene.exited(Name::Netd, &FAILED);
        scene.advance();
        scene.plan();
        scene.ready(Name::Netd);
    }
    scene.now += SETTLED;
    assert_eq!(
        scene.exited(Name::Netd, &Exit::Status(0)),
        Ended::Failed {
            failures: 1,
            wait: Duration::from_millis(500)
        },
        "a daemon's end is a failure whatever its status"
    );
}

#[test]
fn the_search_for_the_configuration_goes_on_at_its_own_pace_and_can_be_hastened() {
    let mut scene = Scene::new();
    scene.plan();
    let wait = Duration::from_secs(5);
    for failures in 1..10 {
        assert_eq!(
            scene.exited(Name::Configure, &Exit::Status(10)),
            Ended::Failed { failures, wait }
        );
        assert_eq!(scene.advance(), wait);
        assert_eq!(scene.plan(), [Command::Start(Name::Configure)]);
    }
    scene.exited(Name::Configure, &Exit::Status(11));
    let soon = scene.now + Duration::from_millis(300);
    scene.supervisor.hasten(Name::Configure, soon);
    scene.supervisor.hasten(Name::Configure, soon + wait);
    assert_eq!(scene.advance(), Duration::from_millis(300));
    assert_eq!(scene.plan(), [Command::Start(Name::Configure)]);
    let before = scene.supervisor.stage(Name::Configure);
    scene.supervisor.hasten(Name::Configure, scene.now);
    assert_eq!(scene.supervisor.stage(Name::Configure), before);
}

#[test]
fn a_configuration_that_ends_its_reader_is_looked_for_anew() {
    let mut scene = Scene::up();
    let wrong = Exit::Status(78);
    assert!(wrong.is_of_configuration() && !FAILED.is_of_configuration());
    for _ in 0..10 {
        scene.exited(Name::Staker, &wrong);
        scene.supervisor.redo(Name::Configure, scene.now);
        // twice is once, and what runs goes on
        scene.supervisor.redo(Name::Configure, scene.now);
        assert_eq!(scene.stage(Name::Netd), "ready");
        while scene.plan() != [Command::Start(Name::Configure)] {
            scene.advance();
        }
        scene.supervisor.redo(Name::Configure, scene.now);
        assert_eq!(scene.stage(Name::Configure), "starting");
        // longer than the staker's longest wait
        scene.now += Duration::from_secs(50);
        assert!(scene.plan().is_empty(), "no start with the old one");
        scene.exited(Name::Configure, &Exit::Status(0));
        assert_eq!(scene.plan(), [Command::Start(Name::Staker)]);
    }
    scene.ready(Name::Staker);
    scene.supervisor.redo(Name::Netd, scene.now);
    assert_eq!(scene.stage(Name::Netd), "ready");
}

#[test]
fn what_does_not_end_is_killed_once_the_grace_is_over() {
    let mut scene = Scene::up();
    let command = scene.supervisor.restart(Name::Netd, scene.now);
    assert_eq!(command, Some(Command::Terminate(Name::Netd)));
    assert_eq!(scene.supervisor.restart(Name::Netd, scene.now), None);
    assert!(scene.plan().is_empty());
    assert_eq!(scene.advance(), GRACE);
    assert_eq!(scene.plan(), [Command::Kill(Name::Netd)]);
    assert!(scene.plan().is_empty(), "killed once");
    assert_eq!(scene.supervisor.deadline(), None);
    assert_eq!(scene.exited(Name::Netd, &Exit::Signal(9)), Ended::Stopped);
    assert_eq!(
        scene.plan(),
        [Command::Start(Name::Netd)],
        "a restart that was asked for does not wait"
    );
}

#[test]
fn a_start_that_takes_too_long_is_a_failure() {
    let mut scene = Scene::new();
    scene.plan();
    for name in [Name::TeeReport, Name::Configure, Name::State] {
        scene.exited(name, &Exit::Status(0));
    }
    scene.plan();
    scene.exited(Name::Measure, &Exit::Status(0));
    scene.plan();
    scene.exited(Name::TpmBroker, &Exit::Status(0));
    while scene.plan() != [Command::Kill(Name::Containerd)] {
        scene.advance();
        assert!(scene.now < Duration::from_secs(400));
    }
    assert!(matches!(
        scene.exited(Name::Containerd, &Exit::Signal(9)),
        Ended::Failed { failures: 1, .. }
    ));
}

#[test]
fn what_waits_for_what_it_requires_sets_no_deadline() {
    let mut scene = Scene::up();
    scene.supervisor.want(Name::K3s);
    assert_eq!(scene.plan(), [Command::Start(Name::K3s)]);
    scene.exited(Name::K3s, &FAILED);
    for _ in 0..6 {
        scene.exited(Name::Containerd, &FAILED);
        scene.now += Duration::from_secs(40);
        assert_eq!(scene.plan(), [Command::Start(Name::Containerd)]);
    }
    // the agent's wait is over by now, and containerd starts without a limit in sight
    let deadline = scene.supervisor.deadline().unwrap();
    assert!(deadline > scene.now);
    scene.ready(Name::Containerd);
    assert_eq!(scene.plan(), [Command::Start(Name::K3s)]);
}

#[test]
fn what_was_stopped_stays_so() {
    let mut scene = Scene::up();
    let command = scene.supervisor.stop(Name::Staker, scene.now);
    assert_eq!(command, Some(Command::Terminate(Name::Staker)));
    assert_eq!(
        scene.exited(Name::Staker, &Exit::Signal(15)),
        Ended::Stopped
    );
    assert!(scene.plan().is_empty());
    // also what waits
    scene.exited(Name::Netd, &FAILED);
    assert_eq!(scene.supervisor.stop(Name::Netd, scene.now), None);
    assert_eq!(scene.supervisor.deadline(), None);
    assert!(scene.plan().is_empty());
}

#[test]
fn after_the_halt_nothing_starts_but_what_lingers_is_killed() {
    let mut scene = Scene::up();
    scene.exited(Name::Netd, &FAILED);
    scene.supervisor.halt();
    assert_eq!(scene.supervisor.deadline(), None);
    scene.now += Duration::from_secs(3600);
    assert!(scene.plan().is_empty());
    scene.supervisor.stop(Name::Containerd, scene.now);
    scene.now += GRACE;
    assert_eq!(scene.plan(), [Command::Kill(Name::Containerd)]);
}

#[test]
fn every_daemon_has_a_readiness_that_its_connection_serves() {
    for service in SERVICES {
        if let Kind::Daemon(Readiness::Socket(path)) = service.kind {
            assert!(path.starts_with("/run/"), "{}", service.name);
        }
    }
}

#[test]
fn in_a_cloud_the_network_comes_up_without_a_configuration_and_nothing_else_does() {
    let mut scene = Scene::new();
    scene.plan();
    scene.exited(Name::State, &Exit::Status(0));
    scene.exited(Name::Configure, &Exit::Status(12));
    // nothing believes what the state holds before the boot phase is over
    assert!(scene.plan().is_empty());
    scene.supervisor.set_unconfigured(true);
    scene.supervisor.want(Name::Metadata);
    assert_eq!(scene.plan(), [Command::Start(Name::Netd)]);
    assert!(scene.ready(Name::Netd));
    assert_eq!(scene.plan(), [Command::Start(Name::Metadata)]);
    assert_eq!(scene.exited(Name::Metadata, &Exit::Status(0)), Ended::Done);
    // what it brought is looked at at once, and once more each time it is asked again
    scene.supervisor.hasten(Name::Configure, scene.now);
    assert_eq!(scene.plan(), [Command::Start(Name::Configure)]);
    scene.exited(Name::Configure, &Exit::Status(11));
    scene.supervisor.redo(Name::Metadata, scene.now);
    assert_eq!(scene.stage(Name::Metadata), "waiting");
    while scene.stage(Name::Metadata) == "waiting" {
        scene.advance();
        if scene.plan().contains(&Command::Start(Name::Configure)) {
            scene.exited(Name::Configure, &Exit::Status(11));
        }
    }
    // then there is one: the network begins anew with it, and nobody asks the cloud any more
    scene.supervisor.hasten(Name::Configure, scene.now);
    assert_eq!(scene.plan(), [Command::Start(Name::Configure)]);
    scene.exited(Name::Configure, &Exit::Status(0));
    scene.supervisor.set_unconfigured(false);
    let stop = scene.supervisor.stop(Name::Metadata, scene.now);
    assert_eq!(stop, Some(Command::Terminate(Name::Metadata)));
    let restart = scene.supervisor.restart(Name::Netd, scene.now);
    assert_eq!(restart, Some(Command::Terminate(Name::Netd)));
    assert_eq!(
        scene.exited(Name::Metadata, &Exit::Signal(15)),
        Ended::Stopped
    );
    assert_eq!(scene.exited(Name::Netd, &Exit::Status(0)), Ended::Stopped);
    assert_eq!(
        scene.plan(),
        [Command::Start(Name::Measure), Command::Start(Name::Netd)]
    );
}
