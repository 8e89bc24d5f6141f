
  // Reads the sums of each position, some rows a cycle, and waits at the end until the last levels are out.
  localparam IDLE = 2'd0, READING = 2'd1, DRAINING = 2'd2;
  reg [1:0] state;
  reg [POSITION_BITS:0] counted;
  reg [1:0] drained;

  wire last_group = group == groups;
  wire last_read = last_group && counted + 1'b1 == positions;
  wire ends = state == DRAINING && drained == 2'd3;

  always @(posedge clk) begin
    if (reset) begin
      state <= IDLE;
      group <= {GROUP_BITS{1'b0}};
      counted <= {(POSITION_BITS+1){1'b0}};
      drained <= 2'd0;
    end else begin
      case (state)
        READING: begin
          group <= last_group ? {GROUP_BITS{1'b0}} : group + 1'b1;
          if (last_group) counted <= last_read ? {(POSITION_BITS+1){1'b0}} : counted + 1'b1;
          if (last_read) state <= DRAINING;
        end
        DRAINING: begin
          drained <= drained + 2'd1;
          if (ends) state <= IDLE;
        end
        default: if (may_store) state <= READING;
      endcase
    end
  end

  assign position = counted[POSITION_BITS-1:0];
  assign reading = state == READING;
  assign stored = ends;
