
  // Bits stand for -1 and 1: equal ones give 1, others -1, so the sum is twice the number of equal ones less all.
  reg [6*GROUPS-1:0] equal;
  always @(posedge clk) equal <= {{(6*GROUPS - COLUMNS){1'b0}}, ~(weights ^ x)};

  // Six bits are counted by three functions of six inputs, which a LUT holds.
  reg [3*GROUPS-1:0] counts;
  wire [3*GROUPS-1:0] counted;
  genvar group;
  generate
    for (group = 0; group < GROUPS; group = group + 1) begin : each_group
      wire [2:0] a = equal[6*group +: 3];
      wire [2:0] b = equal[6*group+3 +: 3];
      wire carry_a = (a[0] & a[1]) | (a[0] & a[2]) | (a[1] & a[2]);
      wire carry_b = (b[0] & b[1]) | (b[0] & b[2]) | (b[1] & b[2]);
      wire carry = ^a & ^b;
      assign counted[3*group] = ^a ^ ^b;
      assign counted[3*group+1] = carry_a ^ carry_b ^ carry;
      assign counted[3*group+2] = (carry_a & carry_b) | (carry & (carry_a | carry_b));
    end
  endgenerate
  always @(posedge clk) counts <= counted;

  wire [COUNT-1:0] ones;
  %{tree} tree (.clk(clk), .terms(counts), .sum(ones));
  assign sum = {{(SUM - COUNT - 1){1'b0}}, ones, 1'b0} - COLUMNS[SUM-1:0];
