
  // A weight is {sign, order}: x * 2^order, order 7 for 0, shifted in two steps of a LUT a bit each. Of a negative weight
  // every bit is turned round, which is one less than the negative: what that takes off a row's sum depends on its
  // weights alone, and the bias gives it back.
  wire [X_BITS+2:0] near = {{3{x[X_BITS-1]}}, x} << weight[1:0];
  wire [PRODUCT-1:0] wide = {{(PRODUCT - X_BITS - 3){near[X_BITS+2]}}, near};
  wire [PRODUCT-1:0] size = weight[2:0] == 3'd7 ? {PRODUCT{1'b0}} : weight[2] ? wide << 4 : wide;
  reg [PRODUCT-1:0] shifted;
  always @(posedge clk) shifted <= size ^ {PRODUCT{weight[3]}};
  assign product = shifted;
