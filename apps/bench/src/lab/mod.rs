//! The laboratory: workloads on a counting storage and on a simulated chip, beside the figures of earlier systems.

pub mod all_uses;
pub mod clairvoyant;
pub mod cost;
pub mod counting;
pub mod docs;
pub mod get;
pub mod jobs;
pub mod kvs;
pub mod medium;
pub mod micro;
pub mod order;
pub mod paged;
pub mod persist;
pub mod plots;
pub mod prior;
pub mod queue;
pub mod record;
pub mod row;
pub mod simulated;
pub mod table;

/// Calls `$function::<Policy>($name, ..)` for each eviction policy.
#[macro_export]
macro_rules! for_each_policy {
    ($function:ident($($argument:expr),*)) => {
        $function::<vnv_persist::Adaptive>("vnv/adaptive" $(, $argument)*);
        $function::<vnv_persist::FirstFound>("vnv/first-found" $(, $argument)*);
        $function::<vnv_persist::Clock>("vnv/clock" $(, $argument)*);
    };
}

/// Adds the jobs of some workloads.
type Add = fn(&mut jobs::Jobs, jobs::Scale);

/// The workloads by name.
pub const WORKLOADS: [(&str, Add); 6] = [
    ("storage", get::transfers),
    ("objects", get::jobs),
    ("persist", persist::jobs),
    ("locked", persist::wait),
    ("queue", queue::jobs),
    ("kvs", kvs::jobs),
];
