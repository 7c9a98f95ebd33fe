//! Verification of the reports of trusted execution environments (`attest::tee_report`), up to their
//! vendors' roots: AMD SEV-SNP, Intel TDX, AWS Nitro Enclaves.

mod certificate;
pub mod nitro;
mod outcome;
mod roots;
pub mod sev_snp;
pub mod tdx;
mod verify;

pub use outcome::{Refusal, VerifiedReport};
pub use roots::{AmdProduct, AmdRoot, Roots};
pub use verify::{Expectations, verify};
