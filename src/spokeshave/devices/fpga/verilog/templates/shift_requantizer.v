
  // clamp((sum + bias + half) >> shift), to which the zero point is added. What a shift drops begins with the digit
  // that decides about rounding, so half need not be added before.
  reg [BIASED-1:0] biased;
  reg [5:0] shift_1, shift_2;
  reg [BIASED-1:0] kept;
  always @(posedge clk) begin
    biased <= {sum[SUM-1], sum} + {{(BIASED - 32){bias[31]}}, bias};
    shift_1 <= shift;
    kept <= biased;
    shift_2 <= shift_1;
  end
%{rounding}
