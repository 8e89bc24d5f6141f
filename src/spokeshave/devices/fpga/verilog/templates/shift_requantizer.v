
  // clamp((sum + bias + half) >> shift), to which the zero point is added. What a shift drops begins with the digit
  // that decides about rounding, so half need not be added before.
  reg [WIDE-1:0] wide;
  reg [5:0] right;
  always @(posedge clk) begin
    wide <= {sum[SUM-1], sum} + {{(WIDE - 32){bias[31]}}, bias};
    right <= shift;
  end
%{shifting}
  reg [10:0] kept;
  always @(posedge clk) kept <= near;
%{rounding}
