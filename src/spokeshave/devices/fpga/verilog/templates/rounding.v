  wire signed [WIDE:0] shifted = $signed({kept, 1'b0}) >>> shift_2;
  wire signed [WIDE:0] rounded = {shifted[WIDE], shifted[WIDE:1]} + {{WIDE{1'b0}}, shifted[0]};
  wire signed [WIDE:0] least = {{(WIDE - 9){low[9]}}, low};
  wire signed [WIDE:0] most = {{(WIDE - 9){high[9]}}, high};
  wire [7:0] clamped = rounded < least ? low[7:0] : rounded > most ? high[7:0] : rounded[7:0];
  always @(posedge clk) level <= clamped + zero_point;
