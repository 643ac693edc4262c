use vnv_persist::{Bound, BusCost, EnergyBudget, Layout, Options, SupplyLimits};

const LAYOUT: Layout = match Layout::new(8192, 8, (48, 6, 4), Options::new(1024)) {
    Ok(layout) => layout,
    Err(_) => panic!("no such layout"),
};
const BOUND: Bound = Bound::new(&LAYOUT, &BusCost::wire(&vnv_storage::Part::MB85RS64V, 20_000_000), 64);
const _: () = EnergyBudget {
    capacitance_nf: 150_000,
    alarm_mv: 5_500,
    efficiency_percent: 100,
    load_mv: 3_300,
    worst_current_ua: 800_000,
    limits: SupplyLimits::MB85RS64V,
}
.require(&BOUND);

fn main() {}
