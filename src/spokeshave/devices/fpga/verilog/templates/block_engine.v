
  // Lanes side by side; a row's total is what its own lane made of it and what its neighbours did for it.
  wire [(LANES+2)*3*SUM-1:0] sums;
  assign sums[0 +: 3*SUM] = {(3*SUM){1'b0}};
  assign sums[(LANES+1)*3*SUM +: 3*SUM] = {(3*SUM){1'b0}};
  genvar lane;
  generate
    for (lane = 0; lane < LANES; lane = lane + 1) begin : each_lane
      wire [ITEM-1:0] item = items[lane*ITEM +: ITEM];
      %{lane} compute (
        .clk(clk), .reset(reset), .x(x), .row(row),
        .valid(item[0]), .whose(item[2:1]), .first_row(item[3 +: ROW]), .second_row(item[3+ROW +: ROW]),
        .places(item[3+2*ROW +: PLACES]), .weights(item[3+2*ROW+PLACES +: WEIGHTS]),
        .sums(sums[(lane+1)*3*SUM +: 3*SUM])
      );
      assign totals[lane*SUM +: SUM] = sums[(lane+1)*3*SUM +: SUM]
                                     + sums[lane*3*SUM+2*SUM +: SUM]
                                     + sums[(lane+2)*3*SUM+SUM +: SUM];
    end
  endgenerate
  wire unused = &{1'b0, sums};
