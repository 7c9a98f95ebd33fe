use super::*;
use crate::clock_bounds::LONGEST_JUMP;
use std::net::IpAddr;
use tokio::net::UdpSocket;

#[test]
fn a_clock_past_its_floor_is_left_alone() {
    let built = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let bounds = Bounds::new(built, None, Duration::ZERO);
    assert!(!raise(bounds).expect("nothing to set"));
}

/// Seconds from the NTP era 0, 1900-01-01, to 1970-01-01 (RFC 5905, figure 4).
const NTP_EPOCH: u64 = 2_208_988_800;

/// A time server that answers one request with a time that is off by so many seconds.
async fn server(offset: i64) -> TimeServer {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = socket.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let mut request = [0; 48];
        let (_, from) = socket.recv_from(&mut request).await.expect("a request");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let seconds = (now.as_secs() + NTP_EPOCH)
            .checked_add_signed(offset)
            .expect("a time");
        let seconds = u32::try_from(seconds).expect("era 0").to_be_bytes();
        let fraction = ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000) as u32;
        let mut reply = [0; 48];
        reply[0] = 0x24; // no leap, version 4, server (RFC 5905, section 7.3)
        reply[1] = 1;
        for at in [16, 32, 40] {
            reply[at..at + 4].copy_from_slice(&seconds);
            reply[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
        }
        reply[24..32].copy_from_slice(&request[40..48]);
        socket.send_to(&reply, from).await.expect("sent");
    });
    TimeServer {
        host: "127.0.0.1".to_owned(),
        port,
    }
}

fn source(server: TimeServer, origin: Origin) -> Source {
    Source {
        server,
        origin,
        witness: false,
    }
}

async fn configured(offset: i64) -> Source {
    source(server(offset).await, Origin::Configured)
}

fn bounds(floor: SystemTime) -> Option<Bounds> {
    Some(Bounds::new(floor, None, Duration::ZERO))
}

#[tokio::test]
async fn a_right_clock_is_left_alone() {
    let sources = [configured(0).await];
    let round = synchronize(&sources, None).await.expect("a time");
    assert_eq!(round.source, sources[0]);
    assert!(round.offset.abs() < 1.0 && round.agreed, "{round:?}");
}

#[tokio::test]
async fn a_time_before_the_floor_is_refused_and_the_next_server_asked() {
    let bounds = bounds(SystemTime::now() - Duration::from_secs(1000));
    let only = [configured(-100_000).await];
    let error = synchronize(&only, bounds).await.expect_err("too early");
    assert!(matches!(error, ClockError::BeforeFloor(_)), "{error}");
    let both = [configured(-100_000).await, configured(0).await];
    let round = synchronize(&both, bounds).await.expect("the second");
    assert_eq!(round.source, both[1]);
}

/// A server that is never asked: whoever asks it waits for nothing.
fn silent() -> Source {
    let server = TimeServer {
        host: "witness.invalid".to_owned(),
        port: 123,
    };
    Source {
        witness: true,
        ..source(server, Origin::Public)
    }
}

#[tokio::test]
async fn a_jump_of_years_is_not_made_by_one_server_s_word() {
    let bounds = bounds(SystemTime::now() - Duration::from_secs(1000));
    let years = 3 * 366 * 24 * 60 * 60;
    let lies = [configured(years).await, configured(0).await, silent()];
    let round = synchronize(&lies, bounds).await.expect("the second");
    assert_eq!(round.source, lies[1]);
    let alone = [configured(years).await];
    let error = synchronize(&alone, bounds).await.expect_err("alone");
    assert!(matches!(error, ClockError::TooFar(_)), "{error}");
}

#[tokio::test]
async fn nobody_to_ask() {
    let error = synchronize(&[silent()], None).await.expect_err("nobody");
    assert!(matches!(error, ClockError::NoServer), "{error}");
}

#[test]
fn what_is_beyond_the_ceiling_takes_two_that_agree() {
    let second = Duration::from_secs(1);
    let now = UNIX_EPOCH + second * 1_700_000_000;
    let bounds = bounds(now);
    let behind = |length| Offset {
        length,
        ahead: false,
    };
    let at = |host: &str, origin| {
        let host = host.to_owned();
        source(TimeServer { host, port: 123 }, origin)
    };
    let judged = |origin, offset, doubted: &[(Origin, Offset)]| {
        let others: Vec<(Source, Offset)> = doubted
            .iter()
            .map(|(origin, offset)| (at("192.0.2.2", *origin), *offset))
            .collect();
        let others: Vec<(&Source, Offset)> = others
            .iter()
            .map(|(other, offset)| (other, *offset))
            .collect();
        judge(&at("192.0.2.1", origin), offset, now, bounds, &others)
    };
    let (near, far) = (behind(LONGEST_JUMP), behind(LONGEST_JUMP * 3));
    let almost = behind(LONGEST_JUMP * 3 + AGREEMENT);
    let other = behind(LONGEST_JUMP * 3 + AGREEMENT * 2);
    use Origin::{Configured, Offered, Public};
    assert_eq!(judged(Offered, near, &[]).ok(), Some(now + LONGEST_JUMP));
    for (origin, doubted, believed) in [
        (Public, &[][..], false),
        (Public, &[(Public, almost)], true),
        (Public, &[(Public, other)], false),
        (Public, &[(Public, other), (Offered, almost)], true),
        (Offered, &[(Offered, almost)], false),
        (Offered, &[(Configured, almost)], true),
        (Configured, &[(Configured, far)], true),
    ] {
        let found = judged(origin, far, doubted);
        assert_eq!(found.is_ok(), believed, "{origin:?} {doubted:?}");
    }
    // a clock that runs on a battery is a witness too
    let later = now + LONGEST_JUMP * 5;
    let source = at("192.0.2.1", Offered);
    assert!(judge(&source, behind(AGREEMENT), later, bounds, &[]).is_ok());
    assert!(judge(&source, behind(AGREEMENT + second), later, bounds, &[]).is_err());
    // and one that is ahead comes back
    let back = Offset {
        length: LONGEST_JUMP * 5,
        ahead: true,
    };
    assert_eq!(judge(&source, back, later, bounds, &[]).ok(), Some(now));
}

#[test]
fn what_one_has_said_others_can_confirm() {
    let offered = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
    let all = sources(&[], &offered);
    let asked = to_confirm(&all[0], all.clone());
    assert_eq!(asked.len(), all.len());
    let (first, last) = asked.split_at(PUBLIC_SERVERS.len());
    assert!(
        first
            .iter()
            .all(|source| source.origin == Origin::Public && !source.witness)
    );
    assert_eq!(last, &all[..2], "whoever named both can't confirm itself");
    let public = sources(&[], &[]);
    assert_eq!(to_confirm(&public[0], public.clone())[0], public[1]);
}

#[test]
fn configured_before_offered_before_public() {
    let server = TimeServer {
        host: "time.example.org".to_owned(),
        port: 1123,
    };
    let offered = [IpAddr::from([192, 0, 2, 1])];
    let found = sources(std::slice::from_ref(&server), &offered);
    assert_eq!(
        (&found[0].server, found[0].origin),
        (&server, Origin::Configured)
    );
    assert!(!found[0].witness && found[1..].iter().all(|source| source.witness));
    let found = sources(&[], &offered);
    assert_eq!(
        (found[0].name().as_str(), found[0].origin),
        ("192.0.2.1:123", Origin::Offered)
    );
    assert_eq!(found.len(), 1 + PUBLIC_SERVERS.len());
    let found = sources(&[], &[]);
    assert_eq!(found.len(), PUBLIC_SERVERS.len());
    assert!(found.iter().all(|source| !source.witness));
}
