// Four neighbouring floats at a time: the innermost axis is a multiple of four.
alias Pack = vec4f;
