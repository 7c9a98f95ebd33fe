//! What is booted: nodes and their peers.

/// One row of the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Row {
    /// The smallest program on a node's root and state.
    Floor,
    /// BusyBox and a shell script on a node's root and state.
    Busybox,
    /// systemd on a node's state, with a node's root beside its own programs.
    Systemd,
    /// A node on a fresh disk.
    First,
    /// A node that has run before.
    Later,
    /// A node on a fresh disk, with a TPM that it has never seen.
    FirstTpm,
    /// A node that has run before, with its TPM.
    LaterTpm,
}

impl Row {
    /// Every row, in the order of the table and of a round.
    pub const ALL: [Self; 7] = [
        Self::Floor,
        Self::Busybox,
        Self::Systemd,
        Self::First,
        Self::Later,
        Self::FirstTpm,
        Self::LaterTpm,
    ];

    /// Its one name, on the command line, in JSON and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Busybox => "busybox",
            Self::Systemd => "systemd",
            Self::First => "first",
            Self::Later => "later",
            Self::FirstTpm => "first-tpm",
            Self::LaterTpm => "later-tpm",
        }
    }

    /// Whether it is a node of ours.
    #[must_use]
    pub const fn is_node(self) -> bool {
        !matches!(self, Self::Floor | Self::Busybox | Self::Systemd)
    }

    /// Whether its machine has a TPM.
    #[must_use]
    pub const fn has_tpm(self) -> bool {
        matches!(self, Self::FirstTpm | Self::LaterTpm)
    }

    /// Whether its disk is one that a node has run from before.
    #[must_use]
    pub const fn has_run(self) -> bool {
        !matches!(self, Self::First | Self::FirstTpm)
    }

    /// What a node's console says where its secrets are kept as the row has it.
    #[must_use]
    pub const fn must_say(self) -> Option<&'static str> {
        match (self.is_node(), self.has_tpm()) {
            (false, _) => None,
            (true, true) => Some("daas: init INFO state_encryption=tpm"),
            (true, false) => Some("daas: init INFO state_encryption=none"),
        }
    }

    /// The last mark of a boot: what comes after it is not measured. Chain and master, on which the agent's
    /// start depends too, are waited for by nodes that have run before alone: a run of the bench is short.
    #[must_use]
    pub const fn last_mark(self) -> &'static str {
        if self.is_node() && self.has_run() {
            super::marks::AGENT_STARTED
        } else {
            super::marks::AGENT_MAY_START
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.name())
    }
}

impl std::str::FromStr for Row {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|row| row.name() == text)
            .ok_or_else(|| format!("{text} is no row; there are {}", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_of_its_name_is_itself() {
        for row in Row::ALL {
            assert_eq!(row.name().parse(), Ok(row));
        }
        let error = "windows".parse::<Row>().unwrap_err();
        assert!(error.contains("later-tpm"), "{error}");
    }
}
