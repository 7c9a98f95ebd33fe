//! What runs on the node: the table of services, and when each of them starts, stops and starts
//! again.

mod agent;
mod cgroup;
mod kubelet;
mod machine;
mod notify;
mod process;
mod supervisor;
mod table;
mod task_lines;

pub(crate) use agent::Agent;
pub(crate) use cgroup::of_process as cgroup_of_process;
#[cfg(test)]
pub(crate) use machine::GRACE;
pub(crate) use machine::{Ended, Exit, Stage, UNANSWERED};
pub(crate) use notify::{Notification, NotifySocket};
pub(crate) use process::{Launch, OutputPipe, Process, launch};
pub(crate) use supervisor::{Command, Supervisor};
pub(crate) use table::{
    AGENT, Arguments, Effect, Kind, LOOKS_ON_DISKS, Name, OnChange, RESET_SERVICES, Readiness,
    Rights, SERVICES, Service,
};
pub(crate) use task_lines::TaskLines;
