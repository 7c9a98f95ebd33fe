//! What all measurements share: the built image and programs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use harness::devnet::K3s;
use harness::lab::Lab;

/// Where the built things are. `./build.sh bench` says so.
#[derive(Debug, Args)]
pub struct Parts {
    /// The image builder's output.
    #[arg(long, value_name = "DIR", default_value = "target/images/double")]
    pub image: PathBuf,
    /// The built programs.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "target/x86_64-unknown-linux-gnu/release"
    )]
    pub programs: PathBuf,
    /// `double`, or the real k3s that the image holds.
    #[arg(long, value_name = "double|PATH", default_value = "double")]
    pub k3s: K3s,
}

impl Parts {
    /// Looks at them.
    ///
    /// # Errors
    /// When the image is not complete.
    pub async fn open(self) -> Result<Lab> {
        let absolute = |path: PathBuf| std::path::absolute(path);
        let k3s = match self.k3s {
            K3s::Real(path) => K3s::Real(absolute(path)?),
            double => double,
        };
        Lab::open(absolute(self.image)?, absolute(self.programs)?, k3s).await
    }
}
