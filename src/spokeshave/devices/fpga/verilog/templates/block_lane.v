
  // One item a cycle: two rows of a block times some of its columns. Rows belong to this lane (0), to the lane before
  // (1) or to the one behind (2); each has sums of its own here, which are handed over when they are read.
  wire [COLUMNS*X_BITS-1:0] gathered;
  reg [COLUMNS*X_BITS-1:0] chosen;
  reg [2*COLUMNS*BITS-1:0] weights_1;
  genvar column;
  generate
    for (column = 0; column < COLUMNS; column = column + 1) begin : each_column
      assign gathered[column*X_BITS +: X_BITS] = x[places[column*PLACE +: PLACE]*X_BITS +: X_BITS];
    end
  endgenerate
  always @(posedge clk) begin
    chosen <= gathered;
    weights_1 <= weights;
  end
  wire signed [PARTIAL-1:0] first_sum, second_sum;
  %{product} multiply (
    .clk(clk), .weights(weights_1), .x(chosen), .first_sum(first_sum), .second_sum(second_sum)
  );

  // Where each sum goes follows it.
  reg [DELAY*FOLLOWING-1:0] following;
  wire [DELAY*FOLLOWING-1:0] entering = {following[0 +: (DELAY-1)*FOLLOWING], valid, whose, first_row, second_row};
  always @(posedge clk) following <= reset ? {(DELAY*FOLLOWING){1'b0}} : entering;
  wire arrives;
  wire [1:0] whom;
  wire [ROW-1:0] first_place, second_place;
  assign {arrives, whom, first_place, second_place} = following[(DELAY-1)*FOLLOWING +: FOLLOWING];

  reg [SUM-1:0] first_sums [0:4*ROWS-1];
  reg [SUM-1:0] second_sums [0:4*ROWS-1];
  reg [4*ROWS-1:0] first_begun, second_begun;
  wire [ROW+1:0] first_at = {whom, first_place};
  wire [ROW+1:0] second_at = {whom, second_place};
  wire [SUM-1:0] first_stood = first_begun[first_at] ? first_sums[first_at] : {SUM{1'b0}};
  wire [SUM-1:0] second_stood = second_begun[second_at] ? second_sums[second_at] : {SUM{1'b0}};
  always @(posedge clk) begin
    if (reset) begin
      first_begun <= {(4*ROWS){1'b0}};
      second_begun <= {(4*ROWS){1'b0}};
    end else if (arrives) begin
      first_sums[first_at] <= first_stood + {{(SUM - PARTIAL){first_sum[PARTIAL-1]}}, first_sum};
      second_sums[second_at] <= second_stood + {{(SUM - PARTIAL){second_sum[PARTIAL-1]}}, second_sum};
      first_begun[first_at] <= 1'b1;
      second_begun[second_at] <= 1'b1;
    end
  end

  genvar part;
  generate
    for (part = 0; part < 3; part = part + 1) begin : each_owner
      localparam [1:0] OWNER = part;
      wire [ROW+1:0] at = {OWNER, row};
      assign sums[part*SUM +: SUM] = (first_begun[at] ? first_sums[at] : {SUM{1'b0}})
                                   + (second_begun[at] ? second_sums[at] : {SUM{1'b0}});
    end
  endgenerate
