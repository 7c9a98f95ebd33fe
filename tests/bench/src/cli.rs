//! The command line of the bench.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::boot::{self, BootArguments};
use crate::instructions::{self, InstructionsArguments};
use crate::memory::{self, MemoryArguments};
use crate::parts::Parts;
use crate::size::{self, SizeArguments};
use crate::waterfall::{self, WaterfallArguments};

/// Measures a node beside other systems.
#[derive(Debug, Parser)]
#[command(version)]
pub struct CommandLine {
    #[command(flatten)]
    parts: Parts,
    /// What to measure; without one, boots, sizes and instructions.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boots nodes and their peers by turns, and compares the time from PID 1 to where the agent may start.
    Boot(BootArguments),
    /// Counts the instructions until each mark of a node's timeline, and compares them with their budgets.
    Instructions(InstructionsArguments),
    /// Lists what takes the room in the image, and compares it with its budgets.
    Size(SizeArguments),
    /// Measures the memory of our programs on a node after some minutes of life.
    Memory(MemoryArguments),
    /// Draws a node's timeline, with the critical path marked.
    Waterfall(WaterfallArguments),
}

impl CommandLine {
    /// Does what was asked.
    ///
    /// # Errors
    /// When something could not be measured.
    pub async fn execute(self) -> Result<()> {
        match self.command {
            Some(Command::Boot(arguments)) => boot::run(&self.parts.open().await?, arguments).await,
            Some(Command::Instructions(arguments)) => {
                instructions::run(&self.parts.open().await?, &arguments).await
            }
            Some(Command::Size(arguments)) => size::run(&self.parts.image, &arguments),
            Some(Command::Memory(arguments)) => {
                memory::run(&self.parts.open().await?, &arguments).await
            }
            Some(Command::Waterfall(arguments)) => waterfall::run(&arguments),
            None => {
                let image = self.parts.image.clone();
                let lab = self.parts.open().await?;
                boot::run(&lab, BootArguments::default()).await?;
                let sizes = size::run(&image, &SizeArguments::default());
                instructions::run(&lab, &InstructionsArguments::default()).await?;
                sizes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
