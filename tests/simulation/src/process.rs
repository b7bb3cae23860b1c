//! One process that carries a run out: a runtime of its own, whose time only goes on when nothing
//! else does, and which can be left, gone on with, or dropped as a kill does.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_engine::context::Answer;
use code_deploy_engine::plan::Found;
use code_deploy_engine::runner::Handle;
use code_deploy_engine::steer::Asking;
use code_deploy_engine::surroundings::Sabotage;
use code_deploy_engine::{
    Approver, Ended, Error, OpenOptions, Person, Purpose, Runner, Surroundings,
};
use code_deploy_record::{Redactor, RunState};
use tokio::runtime::Runtime;

use crate::chance::Seeded;
use crate::disk::Platter;
use crate::outside::Clients;
use crate::scene::Scene;
use crate::steps;
use crate::target::Place;
use crate::world::{Process, Wall, Wanted, What, World};

/// Longer than any run takes, in simulated time.
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// How often somebody looks whether a run waits for a go.
const ANSWERS: Duration = Duration::from_secs(30);

/// What a process is started for.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// What the runner is opened for.
    pub purpose: Purpose,
    /// Whether its program makes the plan with which the run began.
    pub same_plan: bool,
    /// The version of its program.
    pub version: &'static str,
    /// What is sabotaged in its engine, to show that the checker finds it.
    pub sabotage: Option<Sabotage>,
}

/// Why a process was left.
#[derive(Debug)]
pub enum Left {
    /// It ended by itself.
    Ended(Result<Ended, Error>),
    /// The world wants something of the driver.
    Wanted(Wanted),
    /// It does not come to an end.
    Hangs,
}

/// The work of a process.
type Main = Pin<Box<dyn Future<Output = Result<Ended, Error>>>>;

/// A process.
pub struct Running {
    /// Its number.
    pub process: Process,
    runtime: Runtime,
    main: Option<Main>,
    handle: Arc<Mutex<Option<Handle>>>,
    place: Place,
    others: u64,
    left_at: Option<Duration>,
}

struct Nobody;

#[async_trait]
impl Approver for Nobody {
    async fn ask(&self, _: &str) -> Option<Answer> {
        None
    }
}

impl Running {
    /// Starts a process; nothing of it happens before it is let run.
    #[must_use]
    pub fn start(
        scene: &Scene,
        world: &World,
        platter: &Platter,
        process: Process,
        start: Start,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let services: Vec<_> = scene
            .services
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let disk = platter.seen_by(world, process);
        let place = Place {
            world: world.clone(),
            process,
            disk: disk.clone(),
            alone: start.sabotage == Some(Sabotage::IgnoresFence),
            services: services.clone(),
        };
        let outside = Clients {
            world: world.clone(),
            process,
            services,
        };
        let surroundings = Surroundings {
            disk: Arc::new(disk),
            outside: Arc::new(outside),
            chance: Arc::new(Seeded::new(u64::from(process))),
            process,
            door: false,
            sabotage: start.sabotage,
        };
        let options = options(scene, &place, surroundings, start);
        let handle = Arc::new(Mutex::new(None));
        let back = matches!(start.purpose, Purpose::GoBack);
        let steering = (scene.steering.clone(), scene.answers);
        let main = carry_out(options, Arc::clone(&handle), steering, back);
        world.forget_wanted();
        world.look().note(Some(process), What::Began);
        Self {
            process,
            runtime,
            main: Some(Box::pin(main)),
            handle,
            place,
            others: scene.others,
            left_at: None,
        }
    }

    /// Lets it run until it ends or the world wants something.
    pub fn let_run(&mut self) -> Left {
        steps::enter(&self.place, self.others);
        let world = self.place.world.clone();
        let wake = world.wake();
        let Some(main) = self.main.as_mut() else {
            return Left::Hangs;
        };
        let asleep = self.left_at.take().map(|at| world.look().now() - at);
        let left = self.runtime.block_on(async {
            if let Some(asleep) = asleep {
                // Its clock went on while it was suspended.
                tokio::time::advance(asleep).await;
            }
            world.look().start_time();
            // A process within this one may have been woken twice for one thing.
            let wanted = async {
                loop {
                    wake.notified().await;
                    if let Some(wanted) = world.look().wanted.take() {
                        break wanted;
                    }
                }
            };
            let left = tokio::select! {
                biased;
                wanted = wanted => Left::Wanted(wanted),
                ended = main.as_mut() => Left::Ended(ended),
                () = tokio::time::sleep(LIMIT) => Left::Hangs,
            };
            world.look().stop_time();
            left
        });
        if matches!(left, Left::Ended(_)) {
            self.main = None;
        }
        self.left_at = Some(world.look().now());
        left
    }

    /// Returns what the process knows of the run.
    #[must_use]
    pub fn state(&self) -> Option<Arc<RunState>> {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        handle.as_ref().map(|handle| handle.journal().state())
    }

    /// Ends it at once, as a kill does, or after it ended by itself.
    pub fn bury(self, how: &str) {
        let world = self.place.world.clone();
        {
            let mut inner = world.look();
            inner.dead.insert(self.process);
            inner.note(Some(self.process), What::Ended(how.to_owned()));
        }
        steps::enter(&self.place, self.others);
        drop(self.main);
        drop(self.runtime);
    }
}

fn options(scene: &Scene, place: &Place, surroundings: Surroundings, start: Start) -> OpenOptions {
    let spec = Arc::new(scene.spec());
    OpenOptions {
        inventory: Arc::new(Found::declared(&spec)),
        spec,
        target: Arc::new(place.clone()),
        to: Some(crate::scene::NEW.parse().unwrap()),
        purpose: start.purpose,
        person: Person {
            name: "anna".to_owned(),
            host: "here".to_owned(),
        },
        program: "/simulated/code-deploy".into(),
        program_version: start.version.to_owned(),
        make_handover: None,
        surroundings,
        clock: Arc::new(Wall(place.world.clone())),
        redactor: Redactor::default(),
        seal_key: None,
        approver: Arc::new(Nobody),
        planted_fault: None,
        steps: if start.same_plan {
            steps::all
        } else {
            steps::changed
        },
        item_facts: |_, _| None,
        reverts: None,
    }
}

async fn carry_out(
    options: OpenOptions,
    known: Arc<Mutex<Option<Handle>>>,
    (steering, answers): (Vec<(Duration, Asking)>, Option<bool>),
    back: bool,
) -> Result<Ended, Error> {
    let mut runner = Runner::open(options).await?;
    let handle = runner.handle();
    *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.clone());
    let ended = {
        let course = async {
            if back {
                runner.rollback("berta", "the seed says so").await
            } else {
                runner.run_all().await
            }
        };
        let steering = async {
            let began = tokio::time::Instant::now();
            for (at, asking) in steering {
                tokio::time::sleep_until(began + at).await;
                // A request that is refused changes nothing, which the checker sees.
                drop(handle.steer(&asking, "berta", "the seed says so").await);
            }
            let Some(go) = answers else {
                return std::future::pending::<()>().await;
            };
            loop {
                tokio::time::sleep(ANSWERS).await;
                let asking = Asking::Approve { go, signed: None };
                drop(handle.steer(&asking, "berta", "the seed says so").await);
            }
        };
        tokio::select! {
            biased;
            ended = course => ended,
            () = steering => unreachable!("steering never ends"),
        }
    };
    runner.close().await;
    ended
}
