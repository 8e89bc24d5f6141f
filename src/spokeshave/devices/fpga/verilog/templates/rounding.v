  wire signed [10:0] rounded = {kept[10], kept[10:1]} + {10'd0, kept[0]};
  wire signed [10:0] least = {low[9], low};
  wire signed [10:0] most = {high[9], high};
  wire [7:0] clamped = rounded < least ? low[7:0] : rounded > most ? high[7:0] : rounded[7:0];
  always @(posedge clk) level <= clamped + zero_point;
