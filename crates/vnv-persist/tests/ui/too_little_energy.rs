use vnv_persist::{Bound, BusCost, EnergyBudget, Layout, Options, SupplyLimits};

const LAYOUT: Layout = match Layout::new(8192, 8, (48, 6, 4), Options::new(1024)) {
    Ok(layout) => layout,
    Err(_) => panic!("no such layout"),
};
const BOUND: Bound = Bound::new(&LAYOUT, &BusCost::ESP32C3_20MHZ, 64);
const _: () = EnergyBudget {
    capacitance_nf: 47_000,
    alarm_mv: 3_300,
    efficiency_percent: 100,
    load_mv: 3_300,
    worst_current_ua: 40_000,
    limits: SupplyLimits::MB85RS64V,
}
.require(&BOUND);

fn main() {}
