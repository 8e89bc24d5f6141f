
  // Written and read in the same cycle at different places; what was read appears behind the next edge.
  (* ram_style = "block" *) reg [BITS-1:0] words [0:DEPTH-1];
  always @(posedge clk) begin
    if (write) words[write_address] <= write_data;
    read_data <= words[read_address];
  end
