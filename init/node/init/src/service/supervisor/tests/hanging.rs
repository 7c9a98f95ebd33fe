//! Services that hang.

use super::*;

/// What every daemon with a watchdog has said until now counts.
fn keepalives(scene: &mut Scene) {
    for service in SERVICES {
        if service.watchdog.is_some() {
            scene.supervisor.alive(service.name, scene.now);
        }
    }
}

#[test]
fn service_without_keepalives_is_aborted_then_killed() {
    let mut scene = Scene::watched();
    scene.now += SETTLED;
    keepalives(&mut scene);
    let limit = Name::Staker.service().watchdog.unwrap();
    scene.now += limit;
    for name in [Name::TeeReport, Name::TpmBroker, Name::Netd, Name::Probe] {
        scene.supervisor.alive(name, scene.now);
    }
    assert!(scene.supervisor.has_silent(scene.now));
    assert_eq!(scene.plan(), [Command::Abort(Name::Staker)]);
    assert_eq!(scene.stage(Name::Staker), "hung");
    assert!(scene.plan().is_empty(), "aborted once");
    assert_eq!(scene.advance(), GRACE);
    assert_eq!(scene.plan(), [Command::Kill(Name::Staker)]);
    assert!(scene.plan().is_empty(), "killed once");
    let ended = scene.exited(Name::Staker, &Exit::Signal(9));
    assert!(
        matches!(ended, Ended::Failed { failures: 1, .. }),
        "{ended:?}"
    );
    scene.advance();
    assert_eq!(scene.plan(), [Command::Start(Name::Staker)]);
    // it is not asked for a keepalive of its former life
    assert!(!scene.supervisor.has_silent(scene.now));
}

#[test]
fn keepalives_in_time_keep_a_service_up() {
    let mut scene = Scene::watched();
    for _ in 0..100 {
        scene.now += Name::Staker.service().watchdog.unwrap() / 2;
        keepalives(&mut scene);
        assert!(scene.plan().is_empty());
    }
    // a machine that stood still for an hour
    scene.now += Duration::from_secs(3600);
    scene.supervisor.excuse(scene.now);
    assert!(scene.plan().is_empty());
    assert_eq!(scene.stage(Name::Staker), "ready");
}

#[test]
fn service_without_watchdog_is_never_silent() {
    let mut scene = Scene::watched();
    scene.now += Duration::from_secs(30 * 24 * 3600);
    let aborted = scene.plan();
    for name in [Name::Containerd, Name::K3s] {
        assert!(!aborted.contains(&Command::Abort(name)), "{aborted:?}");
    }
}

#[test]
fn three_probes_without_an_answer_end_a_service() {
    let mut scene = Scene::up();
    let mut probed = |well| scene.supervisor.probed(Name::Containerd, well, scene.now);
    for well in [false, false, true, false, false] {
        assert_eq!(probed(well), None);
    }
    assert_eq!(probed(false), Some(Command::Abort(Name::Containerd)));
    assert_eq!(probed(false), None, "it is ended once");
    assert_eq!(scene.stage(Name::Containerd), "hung");
    assert_eq!(scene.advance(), GRACE);
    assert_eq!(scene.plan(), [Command::Kill(Name::Containerd)]);
}

#[test]
fn probe_counts_only_while_what_is_required_works() {
    let mut scene = Scene::up();
    scene.supervisor.want(Name::K3s);
    assert_eq!(scene.plan(), [Command::Start(Name::K3s)]);
    let probed = |scene: &mut Scene, name| scene.supervisor.probed(name, false, scene.now);
    for _ in 0..10 {
        assert_eq!(probed(&mut scene, Name::K3s), None, "it is not up yet");
    }
    scene.ready(Name::K3s);
    assert_eq!(probed(&mut scene, Name::Containerd), None);
    for _ in 0..10 {
        assert_eq!(probed(&mut scene, Name::K3s), None, "containerd is silent");
    }
    assert_eq!(
        scene.supervisor.probed(Name::Containerd, true, scene.now),
        None
    );
    assert_eq!(probed(&mut scene, Name::K3s), None);
    assert_eq!(probed(&mut scene, Name::K3s), None);
    let ended = probed(&mut scene, Name::K3s);
    assert_eq!(ended, Some(Command::Abort(Name::K3s)));
}

#[test]
fn hung_service_that_is_stopped_gets_its_grace() {
    let mut scene = Scene::up();
    for _ in 0..3 {
        scene.supervisor.probed(Name::Containerd, false, scene.now);
    }
    let command = scene.supervisor.stop(Name::Containerd, scene.now);
    assert_eq!(command, Some(Command::Terminate(Name::Containerd)));
    assert_eq!(scene.advance(), GRACE);
    assert_eq!(scene.plan(), [Command::Kill(Name::Containerd)]);
    let ended = scene.exited(Name::Containerd, &Exit::Signal(9));
    assert_eq!(ended, Ended::Stopped);
}
