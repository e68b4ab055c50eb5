//! What runs beside a load.

use std::fs::File;

use anyhow::{Result, ensure};
use stemedb_kernel_tests::agent::{Agent, Status};

use crate::floor::{self, Floor};
use crate::loads::{COMM, Places};
use crate::meter::Programs;
use crate::tools::{Running, TOOLS, Tool};

/// What runs beside a load.
#[derive(Clone, Copy)]
pub(crate) enum Beside {
    Nothing,
    /// Empty programs where the agent has its own.
    Floor,
    /// An agent whose target is the load.
    Watching,
    /// An agent with another target.
    Elsewhere,
    /// Another tool.
    Tool(&'static Tool),
}

/// Something that runs, and ends when this is dropped.
#[allow(dead_code, reason = "what it is for is its end")]
enum Guard {
    Nothing,
    Floor(Floor),
    Agent(Agent),
    Tool(Running),
}

impl Beside {
    /// Everything that can be run here, the baseline first.
    pub(crate) fn all() -> Vec<Self> {
        let tools = TOOLS.iter().filter(|tool| tool.is_installed()).map(Self::Tool);
        [Self::Nothing, Self::Floor, Self::Watching, Self::Elsewhere].into_iter().chain(tools).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Floor => "empty programs on the agent's hooks",
            Self::Watching => "the agent, which watches it",
            Self::Elsewhere => "the agent, which watches something else",
            Self::Tool(tool) => tool.name,
        }
    }

    /// Runs something beside.
    pub(crate) fn with<T>(self, bench: &Bench, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let guard = match self {
            Self::Nothing => Guard::Nothing,
            Self::Floor => Guard::Floor(Floor::attach(&bench.hooks)?),
            Self::Watching => Guard::Agent(watching(&bench.places)?),
            Self::Elsewhere => Guard::Agent(elsewhere(&bench.places)?),
            Self::Tool(tool) => Guard::Tool(tool.start(&bench.others, &bench.log)?),
        };
        let result = run();
        if let (Guard::Agent(agent), Ok(_)) = (&guard, &result) {
            let status = agent.status()?;
            let losses = status.losses();
            // Without fentry the agent cannot see requests of libaio, and says so.
            let known = ["recursion", "async_submit"];
            ensure!(
                losses.iter().all(|(reason, _)| known.contains(reason)),
                "the agent has lost something: {losses:?}"
            );
        }
        result
    }
}

/// An agent that watches every load.
pub(crate) fn watching(places: &Places) -> Result<Agent> {
    agent(&[&format!("comm={COMM}"), "comm=fio"], places)
}

fn elsewhere(places: &Places) -> Result<Agent> {
    agent(&["comm=no-such-name"], places)
}

fn agent(rules: &[&str], places: &Places) -> Result<Agent> {
    let mut arguments = Vec::new();
    for rule in rules {
        arguments.extend(["--target".to_owned(), format!("t:{rule}")]);
    }
    for folder in places.all() {
        arguments.extend(["--class".to_owned(), format!("t:wal={}", folder.display())]);
    }
    Agent::start(&arguments)
}

/// What every measurement needs.
pub(crate) struct Bench {
    pub(crate) places: Places,
    /// Where the agent's programs are.
    hooks: floor::Places,
    /// As an agent that ran first has told.
    status: Status,
    /// Programs that were there before the bench.
    pub(crate) others: Programs,
    log: File,
}

impl Bench {
    pub(crate) fn new(places: Places, others: Programs, log: File) -> Result<Self> {
        let status = elsewhere(&places)?.status()?;
        Ok(Self { hooks: floor::Places::of(&status)?, places, status, others, log })
    }

    /// By which hook the agent has a capability.
    pub(crate) fn hook_of(&self, capability: &str) -> String {
        let found = self.status.capabilities.iter().find(|one| one["capability"] == capability);
        found.and_then(|one| one["hook"].as_str()).unwrap_or("off").to_owned()
    }
}
