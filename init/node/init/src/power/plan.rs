//! The order in which everything stops. No clock and no process here: both are told.

use std::time::Duration;

use super::grace;
use crate::service::Name;

/// How long the kernel may take to kill what is to be killed.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// How long all of it may take, [`grace::LONGEST`] for pods included. What is left then is killed. Clouds cut the power
/// a minute and a half after they press the button, or later.
pub(crate) const WHOLE: Duration = Duration::from_secs(60);
/// How often it is looked whether a group has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Processes that are no service: a part of the cgroup tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// The pods' containers.
    Pods,
    /// What containerd started beside itself: a shim for each pod.
    Shims,
}

impl Group {
    /// Its cgroup, below the root of the cgroup tree.
    pub(crate) const fn cgroup(self) -> &'static str {
        match self {
            Self::Pods => "kubepods",
            Self::Shims => "system/containerd",
        }
    }
}

/// One step. The next begins when nothing of it runs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Services, each with SIGTERM, a grace, and SIGKILL.
    Services(&'static [Name]),
    /// The pods: SIGTERM, what they ask for, SIGKILL.
    Pods,
    /// Another group: SIGKILL at once.
    Kill(Group),
}

/// The agent first, so that nothing starts a pod again; then the pods while containerd still
/// notes their end; the network last, so that the others can say goodbye.
const NODE: &[Step] = &[
    Step::Services(&[Name::K3s]),
    Step::Pods,
    Step::Services(&[Name::Containerd]),
    Step::Kill(Group::Shims),
    Step::Services(&[Name::Metadata, Name::Staker]),
    Step::Services(&[
        Name::TeeReport,
        Name::TpmBroker,
        Name::Netd,
        Name::Measure,
        Name::Configure,
        Name::Probe,
        Name::State,
        Name::LastEnd,
        Name::Reset,
    ]),
];

/// The agent and its pods alone: containerd and all else go on.
const AGENT: &[Step] = &[Step::Services(&[Name::K3s]), Step::Pods];

/// What still runs.
pub(crate) trait World {
    /// Whether a service has a process.
    fn runs(&self, service: Name) -> bool;
    /// Whether a group has a process.
    fn is_populated(&self, group: Group) -> bool;
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Stop a service.
    Stop(Name),
    /// Send SIGTERM to a group.
    Terminate(Group),
    /// Kill a group.
    Kill(Group),
    /// Nothing is left, or no time is.
    Finish,
}

/// A stop under way.
#[derive(Debug)]
pub(crate) struct StopPlan {
    steps: &'static [Step],
    /// How long pods have to end after SIGTERM before they get SIGKILL.
    pods_grace: Duration,
    give_up: Duration,
    step: usize,
    begun: Option<Duration>,
    killed: bool,
}

impl StopPlan {
    /// A stop of everything that begins now.
    pub(crate) fn node(now: Duration) -> Self {
        Self::new(NODE, grace::of_pods(), now)
    }

    /// A stop of the agent and its pods that begins now.
    pub(crate) fn agent(now: Duration) -> Self {
        Self::new(AGENT, grace::of_pods(), now)
    }

    const fn new(steps: &'static [Step], pods_grace: Duration, now: Duration) -> Self {
        Self {
            steps,
            pods_grace,
            give_up: now.saturating_add(WHOLE),
            step: 0,
            begun: None,
            killed: false,
        }
    }

    /// What is to be done now. To be asked again after every event, and at [`StopPlan::deadline`].
    pub(crate) fn advance(&mut self, world: &impl World, now: Duration) -> Vec<Act> {
        let mut acts = Vec::new();
        loop {
            let Some(step) = self.steps.get(self.step).filter(|_| now < self.give_up) else {
                acts.push(Act::Finish);
                return acts;
            };
            let fresh = self.begun.is_none();
            let begun = *self.begun.get_or_insert(now);
            let over = match *step {
                Step::Services(names) => {
                    if fresh {
                        acts.extend(names.iter().copied().map(Act::Stop));
                    }
                    !names.iter().any(|name| world.runs(*name))
                }
                Step::Pods => {
                    let kill_at = begun.saturating_add(self.pods_grace);
                    self.stop_group(Group::Pods, fresh, kill_at, world, now, &mut acts)
                }
                Step::Kill(group) => self.stop_group(group, fresh, begun, world, now, &mut acts),
            };
            if !over {
                return acts;
            }
            self.step = self.step.saturating_add(1);
            self.begun = None;
            self.killed = false;
        }
    }

    fn stop_group(
        &mut self,
        group: Group,
        fresh: bool,
        kill_at: Duration,
        world: &impl World,
        now: Duration,
        acts: &mut Vec<Act>,
    ) -> bool {
        if !world.is_populated(group) {
            return true;
        }
        if now >= kill_at.saturating_add(KILL_GRACE) {
            return true;
        }
        if now >= kill_at && !self.killed {
            self.killed = true;
            acts.push(Act::Kill(group));
        } else if fresh {
            acts.push(Act::Terminate(group));
        }
        false
    }

    /// When to ask again if nothing else happens.
    pub(crate) fn deadline(&self, now: Duration) -> Duration {
        match self.steps.get(self.step) {
            Some(Step::Pods | Step::Kill(_)) => now.saturating_add(LOOK).min(self.give_up),
            _ => self.give_up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    #[derive(Default)]
    struct Fake {
        services: Vec<Name>,
        groups: Vec<Group>,
    }

    impl World for Fake {
        fn runs(&self, service: Name) -> bool {
            self.services.contains(&service)
        }

        fn is_populated(&self, group: Group) -> bool {
            self.groups.contains(&group)
        }
    }

    /// What the pods of these tests ask for.
    const GRACE: Duration = Duration::from_secs(6);

    fn plan() -> StopPlan {
        StopPlan::new(NODE, GRACE, START)
    }

    #[test]
    fn a_node_on_which_nothing_runs_is_done_at_once() {
        let acts = plan().advance(&Fake::default(), START);
        assert_eq!(acts.last(), Some(&Act::Finish));
        assert!(
            acts.iter()
                .all(|act| matches!(act, Act::Stop(_) | Act::Finish))
        );
    }

    #[test]
    fn each_step_waits_for_the_one_before() {
        let mut plan = plan();
        let mut world = Fake {
            services: vec![Name::Netd, Name::Staker, Name::Containerd, Name::K3s],
            groups: vec![Group::Pods, Group::Shims],
        };
        assert_eq!(plan.advance(&world, START), [Act::Stop(Name::K3s)]);
        assert!(plan.advance(&world, START).is_empty());
        world.services.pop();
        assert_eq!(plan.advance(&world, START), [Act::Terminate(Group::Pods)]);
        assert!(plan.advance(&world, START + LOOK).is_empty());
        world.groups.remove(0);
        assert_eq!(
            plan.advance(&world, START + LOOK),
            [Act::Stop(Name::Containerd)]
        );
        world.services.pop();
        assert_eq!(plan.advance(&world, START), [Act::Kill(Group::Shims)]);
        assert!(plan.advance(&world, START).is_empty());
        world.groups.clear();
        assert_eq!(
            plan.advance(&world, START),
            [Act::Stop(Name::Metadata), Act::Stop(Name::Staker)]
        );
        world.services.pop();
        assert_eq!(
            plan.advance(&world, START),
            [
                Act::Stop(Name::TeeReport),
                Act::Stop(Name::TpmBroker),
                Act::Stop(Name::Netd),
                Act::Stop(Name::Measure),
                Act::Stop(Name::Configure),
                Act::Stop(Name::Probe),
                Act::Stop(Name::State),
                Act::Stop(Name::LastEnd),
                Act::Stop(Name::Reset)
            ]
        );
        world.services.clear();
        assert_eq!(plan.advance(&world, START), [Act::Finish]);
    }

    #[test]
    fn the_agent_s_stop_leaves_containerd_alone() {
        let mut plan = StopPlan::new(AGENT, GRACE, START);
        let mut world = Fake {
            services: vec![Name::Containerd, Name::K3s],
            groups: vec![Group::Pods, Group::Shims],
        };
        assert_eq!(plan.advance(&world, START), [Act::Stop(Name::K3s)]);
        assert!(plan.advance(&world, START).is_empty());
        world.services.pop();
        assert_eq!(plan.advance(&world, START), [Act::Terminate(Group::Pods)]);
        assert_eq!(
            plan.advance(&world, START + GRACE),
            [Act::Kill(Group::Pods)]
        );
        world.groups.remove(0);
        assert_eq!(plan.advance(&world, START + GRACE), [Act::Finish]);
    }

    #[test]
    fn pods_that_do_not_end_are_killed_and_then_left_behind() {
        let mut plan = plan();
        let world = Fake {
            services: vec![Name::Staker],
            groups: vec![Group::Pods],
        };
        let mut now = START;
        let mut acts = Vec::new();
        while now < START + GRACE + KILL_GRACE + LOOK {
            acts.extend(plan.advance(&world, now));
            let deadline = plan.deadline(now);
            assert!(deadline > now);
            now += LOOK;
        }
        let about_pods: Vec<&Act> = acts
            .iter()
            .filter(|act| !matches!(act, Act::Stop(_)))
            .collect();
        assert_eq!(
            about_pods,
            [&Act::Terminate(Group::Pods), &Act::Kill(Group::Pods)]
        );
        assert_eq!(acts.last(), Some(&Act::Stop(Name::Staker)));
    }

    /// Pods that ask for longer are not killed before; those that have ended are not waited for.
    #[test]
    fn pods_have_what_they_ask_for_and_no_more() {
        let mut plan = StopPlan::new(AGENT, 4 * GRACE, START);
        let mut world = Fake {
            services: Vec::new(),
            groups: vec![Group::Pods],
        };
        let acts = plan.advance(&world, START);
        assert_eq!(acts.last(), Some(&Act::Terminate(Group::Pods)));
        assert!(plan.advance(&world, START + 3 * GRACE).is_empty());
        world.groups.clear();
        assert_eq!(plan.advance(&world, START + 3 * GRACE), [Act::Finish]);
    }

    #[test]
    fn the_whole_of_it_is_bounded() {
        let mut plan = plan();
        let world = Fake {
            services: vec![Name::K3s],
            groups: Vec::new(),
        };
        plan.advance(&world, START);
        assert_eq!(plan.deadline(START), START + WHOLE);
        assert_eq!(plan.advance(&world, START + WHOLE), [Act::Finish]);
    }

    /// The bound on the whole cuts no step short, however slow each of them is.
    #[test]
    fn the_steps_fit_into_the_whole() {
        let slowest: Duration = NODE
            .iter()
            .map(|step| match step {
                Step::Services(_) => crate::service::GRACE,
                Step::Pods => grace::LONGEST + KILL_GRACE,
                Step::Kill(_) => KILL_GRACE,
            })
            .sum();
        assert!(slowest <= WHOLE, "{slowest:?}");
    }

    #[test]
    fn every_service_is_stopped() {
        let mut stopped: Vec<Name> = NODE
            .iter()
            .flat_map(|step| match step {
                Step::Services(names) => names.to_vec(),
                Step::Pods | Step::Kill(_) => Vec::new(),
            })
            .collect();
        stopped.sort();
        assert_eq!(stopped, Name::ALL);
    }
}
