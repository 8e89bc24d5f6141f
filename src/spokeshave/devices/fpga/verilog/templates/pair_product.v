
  // (second * 2^FIELD + first) * x: two products of one multiplier. Below the second weight lie the signs of the first,
  // which are worth -1 to it; its code has this 1 taken off already. The same holds for the products.
  wire signed [WIDTH-1:0] pair =
      {{(WIDTH - BITS - FIELD){weights[2*BITS-1]}}, weights[2*BITS-1:BITS],
       {(FIELD - BITS){weights[BITS-1]}}, weights[BITS-1:0]};
  wire signed [WIDTH-1:0] factor = {{(WIDTH - X_BITS){x[X_BITS-1]}}, x};
  reg signed [WIDTH-1:0] both;
  always @(posedge clk) both <= pair * factor;

  assign first_product = both[PRODUCT-1:0];
  assign second_product = both[FIELD +: PRODUCT] + {{(PRODUCT - 1){1'b0}}, both[FIELD-1]};
