//! The messages of remotedialer: a header of signed varints (zigzag, as Go's `PutVarint`), then
//! the rest of the websocket message as payload. Source: rancher/remotedialer, `message.go`.

use thiserror::Error;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of a connection.
    Data,
    /// Asks the other side to open a connection; the payload is `protocol/address`.
    Connect,
    /// Ends a connection; the payload is the reason, `EOF` for an orderly end.
    Error,
    /// Anything that the double has no use for: peers, back pressure, lists of connections.
    Other(i64),
}

impl Kind {
    fn number(self) -> i64 {
        match self {
            Self::Data => 1,
            Self::Connect => 2,
            Self::Error => 3,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Data,
            2 => Self::Connect,
            3 => Self::Error,
            other => Self::Other(other),
        }
    }

    /// `Data` and `Connect` carry a deadline, in milliseconds, that nobody reads any more.
    fn has_deadline(self) -> bool {
        matches!(self, Self::Data | Self::Connect)
    }
}

/// The deadline that current senders put in: 15 s.
const LEGACY_DEADLINE: i64 = 15_000;

/// A message that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a tunnel message has a broken header")]
pub struct FrameError;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message's own number.
    pub id: i64,
    /// Which connection it belongs to.
    pub connection: i64,
    /// What it is for.
    pub kind: Kind,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Header and payload as one websocket message.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload.len() + 24);
        put(&mut bytes, self.id);
        put(&mut bytes, self.connection);
        put(&mut bytes, self.kind.number());
        if self.kind.has_deadline() {
            put(&mut bytes, LEGACY_DEADLINE);
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Takes a websocket message apart.
    ///
    /// # Errors
    /// The header is cut off or a number in it is longer than 64 bits.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, FrameError> {
        let id = take(&mut bytes)?;
        let connection = take(&mut bytes)?;
        let kind = Kind::from_number(take(&mut bytes)?);
        if kind.has_deadline() {
            take(&mut bytes)?;
        }
        Ok(Self {
            id,
            connection,
            kind,
            payload: bytes.to_vec(),
        })
    }
}

fn put(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn take(bytes: &mut &[u8]) -> Result<i64, FrameError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(FrameError)?;
        *bytes = rest;
        let digit = u64::from(first & 0x7f);
        if shift == 63 && digit > 1 {
            return Err(FrameError);
        }
        number |= digit << shift;
        if first & 0x80 == 0 {
            return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    Err(FrameError)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go's `binary.PutVarint` makes of these numbers.
    #[test]
    fn numbers_are_zigzag_varints() {
        for (number, expected) in [
            (0, vec![0]),
            (-1, vec![1]),
            (1, vec![2]),
            (-64, vec![0x7f]),
            (64, vec![0x80, 0x01]),
            (15_000, vec![0xb0, 0xea, 0x01]),
            (
                i64::MIN,
                vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
        ] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(bytes, expected, "{number}");
            assert_eq!(take(&mut bytes.as_slice()), Ok(number));
        }
    }

    #[test]
    fn a_connect_message_is_what_remotedialer_sends() {
        let frame = Frame {
            id: 3,
            connection: 2,
            kind: Kind::Connect,
            payload: b"tcp/127.0.0.1:10250".to_vec(),
        };
        let bytes = frame.encode();
        assert_eq!(&bytes[..6], [6, 4, 4, 0xb0, 0xea, 0x01]);
        assert_eq!(&bytes[6..], b"tcp/127.0.0.1:10250");
        assert_eq!(Frame::decode(&bytes), Ok(frame));
    }

    #[test]
    fn an_end_has_no_deadline_and_rubbish_is_refused() {
        let frame = Frame {
            id: 1,
            connection: 2,
            kind: Kind::Error,
            payload: b"EOF".to_vec(),
        };
        assert_eq!(frame.encode(), [2, 4, 6, b'E', b'O', b'F']);
        assert_eq!(Frame::decode(&[]), Err(FrameError));
        assert_eq!(Frame::decode(&[0x80]), Err(FrameError));
        assert_eq!(Frame::decode(&[0xff; 11]), Err(FrameError));
    }
}
