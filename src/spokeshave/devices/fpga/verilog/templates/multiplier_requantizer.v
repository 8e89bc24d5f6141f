
  // clamp(((sum + bias) * multiplier + half) >> shift), to which the zero point is added. What a shift drops begins
  // with the digit that decides about rounding, so half need not be added before.
  reg signed [PRODUCT-1:0] biased;
  reg signed [PRODUCT-1:0] factor;
  reg [5:0] shift_1, shift_2;
  reg signed [PRODUCT-1:0] kept;
  always @(posedge clk) begin
    biased <= {{(PRODUCT - SUM){sum[SUM-1]}}, sum} + {{(PRODUCT - 32){bias[31]}}, bias};
    factor <= {{(PRODUCT - 31){1'b0}}, multiplier};
    shift_1 <= shift;
    kept <= biased * factor;
    shift_2 <= shift_1;
  end
%{rounding}
