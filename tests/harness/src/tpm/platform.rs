//! What only a machine's maker or its firmware may do with a TPM: commands under the platform's
//! authorisation, which is empty until firmware sets it. Sections are those of the TPM 2.0 Library, Part 3.

use anyhow::{Result, ensure};
use seal::tpm::transport::Transport;

use super::process::Channel;

/// Where a TPM keeps the certificate of its P-256 endorsement key (TCG EK Credential Profile 2.5, 2.2.1.4).
pub(super) const ENDORSEMENT_CERTIFICATE: u32 = 0x01c0_000a;

/// `TPM_RH_PLATFORM` (Part 2, 7.4).
const PLATFORM: u32 = 0x4000_000c;
/// A session of an empty password: `TPM_RS_PW`, no nonce, no attributes, no password.
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];
/// `TPM_ALG_SHA256`.
const SHA256: u16 = 0x000b;
/// `TPMA_NV` (Part 2, 13.4) as makers have it: PPWRITE, WRITEDEFINE, PPREAD, OWNERREAD, AUTHREAD, NO_DA,
/// PLATFORMCREATE.
const ATTRIBUTES: u32 = 1 | 1 << 13 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 25 | 1 << 30;
/// What is written at once: less than any TPM's buffer.
const CHUNK: usize = 512;

const CLEAR: u32 = 0x126;
const CLEAR_CONTROL: u32 = 0x127;
const NV_DEFINE_SPACE: u32 = 0x12a;
const NV_WRITE: u32 = 0x137;

/// Defines an index of the non-volatile memory and writes it (31.3, 31.7).
pub(super) fn define(channel: &mut Channel, index: u32, content: &[u8]) -> Result<()> {
    let length = u16::try_from(content.len())?;
    let mut public = Vec::new();
    public.extend(index.to_be_bytes());
    public.extend(SHA256.to_be_bytes());
    public.extend(ATTRIBUTES.to_be_bytes());
    // no policy
    public.extend([0, 0]);
    public.extend(length.to_be_bytes());
    // no authorisation value
    let mut parameters = vec![0, 0];
    parameters.extend(sized(&public)?);
    run(channel, NV_DEFINE_SPACE, &[PLATFORM], &parameters)?;
    for (number, chunk) in content.chunks(CHUNK).enumerate() {
        let mut parameters = sized(chunk)?;
        parameters.extend(u16::try_from(number * CHUNK)?.to_be_bytes());
        run(channel, NV_WRITE, &[PLATFORM, index], &parameters)?;
    }
    Ok(())
}

/// Clears the TPM (24.6). The node may have switched that off: the firmware switches it on before (24.7), as
/// EDK II does (SecurityPkg, `Tpm2CommandClear`).
pub(super) fn clear(channel: &mut Channel) -> Result<()> {
    run(channel, CLEAR_CONTROL, &[PLATFORM], &[0])?;
    run(channel, CLEAR, &[PLATFORM], &[])
}

fn sized(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = u16::try_from(bytes.len())?.to_be_bytes().to_vec();
    out.extend(bytes);
    Ok(out)
}

/// Runs a command whose first handle is authorised by an empty password.
fn run(channel: &mut Channel, code: u32, handles: &[u32], parameters: &[u8]) -> Result<()> {
    let mut body = Vec::new();
    for handle in handles {
        body.extend(handle.to_be_bytes());
    }
    body.extend(u32::try_from(EMPTY_PASSWORD.len())?.to_be_bytes());
    body.extend(EMPTY_PASSWORD);
    body.extend(parameters);
    // TPM_ST_SESSIONS
    let mut command = vec![0x80, 2];
    command.extend(u32::try_from(10 + body.len())?.to_be_bytes());
    command.extend(code.to_be_bytes());
    command.extend(body);
    let reply = channel.transact(&command)?;
    ensure!(
        reply.get(6..10) == Some(&[0; 4]),
        "the TPM refused command {code:#x}: {}",
        hex::encode(&*reply)
    );
    Ok(())
}
