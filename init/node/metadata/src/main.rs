//! The program: asks, writes, ends. `init` starts it again later, for what a cloud has can change.

use std::path::Path;
use std::process::ExitCode;
use std::thread;

use cloud::Cloud;
use metadata::http::{ADDRESS, Client};
use metadata::{place, retry};
use tracing::{error, info};
use wire::paths::USER_DATA;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let Some(cloud) = Cloud::of_this_machine() else {
        error!("this machine's firmware names no cloud that is known here: nobody is asked");
        return ExitCode::FAILURE;
    };
    let asked = retry::user_data(&Client::new(ADDRESS), cloud, thread::sleep);
    let user_data = match asked {
        Ok(user_data) => user_data,
        Err(error) => {
            error!(
                "the metadata service of {cloud}: {}",
                wire::error::chain(&error)
            );
            return ExitCode::FAILURE;
        }
    };
    match place::write(Path::new(USER_DATA), &user_data) {
        Ok(()) => {
            info!(%cloud, bytes = user_data.len(), "user data taken");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!("{USER_DATA} can't be written: {error}");
            ExitCode::FAILURE
        }
    }
}
