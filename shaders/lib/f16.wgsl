enable f16;
// Stands before everything else in a kernel that binds a buffer of f16; an adapter that runs it has the feature shader-f16.
