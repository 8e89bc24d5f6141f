
  // clamp(((sum + bias) * multiplier + half) >> shift), to which the zero point is added. What a shift drops begins
  // with the digit that decides about rounding, so half need not be added before.
  reg signed [WIDE-1:0] biased;
  reg signed [WIDE-1:0] factor;
  reg signed [WIDE-1:0] wide;
  reg [5:0] shift_1, right;
  always @(posedge clk) begin
    biased <= {{(WIDE - SUM){sum[SUM-1]}}, sum} + {{(WIDE - 32){bias[31]}}, bias};
    factor <= {{(WIDE - 31){1'b0}}, multiplier};
    shift_1 <= shift;
    wide <= biased * factor;
    right <= shift_1;
  end
%{shifting}
  wire [10:0] kept = near;
%{rounding}
