// The numbers that change from step to step; everything else about a plan is fixed.
struct Step {
    seed: u32,        // of the random draws: a function of (seed, stage, restart)
    step: u32,        // steps done since the start of the stage
    rows: u32,        // valid rows of the batch; the rest is padding
    part: u32,        // which micro-batch of the step, from 0
    lr: f32,          // learning rate of this step
    t: f32,           // the optimiser's step, from 1
    counted: f32,     // labels (or tokens) of the micro-batch that its means are over, where that is not its rows
    total: f32,       // those of the whole batch
}
@group(1) @binding(0) var<uniform> live: Step;
