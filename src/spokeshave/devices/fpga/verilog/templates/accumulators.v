
  // A sum for each lane: begun at the first word of a position, written down behind its last.
  reg [ROWS*SUM-1:0] running;
  genvar row;
  generate
    for (row = 0; row < ROWS; row = row + 1) begin : each_row
      wire [SUM-1:0] base = !opens ? running[row*SUM +: SUM] : adds ? stood[row*SUM +: SUM] : {SUM{1'b0}};
      assign sums[row*SUM +: SUM] =
          base + {{(SUM - PARTIAL){partial_sums[(row+1)*PARTIAL-1]}}, partial_sums[row*PARTIAL +: PARTIAL]};
    end
  endgenerate
  always @(posedge clk) running <= sums;
