// One float at a time: any shape.
alias Pack = f32;
