//! How a machine was started, by the reports of its trusted execution environment.
//!
//! A report counts in two steps. It is authentic when it leads to a vendor's root, is over what the
//! quote is over, and is of a machine that nobody looks into: [`Policy::check`]. What was launched is
//! then looked for among the measurements of the release that the quote's register 11 names:
//! [`Policy::launches`]. A release that lists none for the kind says nothing of the launch, and the
//! report proves nothing of it.

use std::fmt;

use attest::tee_report::TeeKind;
use master_api::RefusalCode;
use seal::release::Phase;

use crate::{
    fault::Fault,
    policy::{Policy, Verified},
    release::Release,
    tee_report::VerifiedReport,
};

/// What a report that holds says of a machine's launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Whose report it is.
    pub kind: TeeKind,
    /// Whether what was launched is what the release lists. Otherwise the release lists nothing for
    /// this kind.
    pub proven: bool,
    /// The security version of the platform, for people to read.
    pub platform: String,
}

impl fmt::Display for Launch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.proven {
            "launched as the release lists"
        } else {
            "its launch is not proven: the release lists no measurement for it"
        };
        write!(formatter, "{} ({how})", self.kind)
    }
}

impl Policy {
    /// What the reports say of the launch, by the releases that count at this time, in milliseconds since
    /// the Unix epoch. Empty where none came,
    /// or where they are not looked at. To be asked beside [`Verified::release`], which says whether the
    /// node runs a release that counts.
    ///
    /// # Errors
    /// When something else was launched than the release lists, or nothing proves the launch and that
    /// is required.
    pub fn launches(
        &self,
        verified: &Verified,
        releases: &[Release],
        now_ms: u64,
    ) -> Result<Vec<Launch>, Fault> {
        let Some(reports) = &self.reports else {
            return Ok(Vec::new());
        };
        // one image can be several versions
        let counts = |release: &&Release| {
            Phase::Run.predict(&release.pcr11) == *verified.image.register()
                && release.counts(now_ms)
        };
        let listed: Vec<_> = releases
            .iter()
            .filter(counts)
            .flat_map(|release| &release.launch_measurements)
            .collect();
        let launch = |report: &VerifiedReport| {
            let mut known = listed.iter().filter(|known| known.kind == report.kind);
            let proven = known
                .clone()
                .any(|known| known.digest == report.measurement);
            if !proven && known.next().is_some() {
                return Err(Fault::new(
                    RefusalCode::TeeLaunch,
                    format!(
                        "the {} report is of another launch than the release lists: its measurement is {}",
                        report.kind,
                        hex::encode(report.measurement)
                    ),
                ));
            }
            Ok(Launch {
                kind: report.kind,
                proven,
                platform: report.platform.clone(),
            })
        };
        let launches: Vec<Launch> = verified
            .reports
            .iter()
            .map(launch)
            .collect::<Result<_, _>>()?;
        if reports.required && !launches.iter().any(|launch| launch.proven) {
            return Err(Fault::new(
                RefusalCode::TeeLaunchUnlisted,
                "the release lists no launch measurement for this machine's trusted execution \
                 environment, so that its report proves nothing of what was launched: have the \
                 publisher approve the release with one",
            ));
        }
        Ok(launches)
    }
}
