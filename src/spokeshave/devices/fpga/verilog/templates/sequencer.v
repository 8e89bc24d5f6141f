
  // Reads one pair of words a cycle, position by position, and waits at the end until the last sums are written.
  localparam IDLE = 2'd0, READING = 2'd1, DRAINING = 2'd2;
  reg [1:0] state;
  reg [WEIGHT_ADDRESS_BITS:0] word;
  reg [DRAIN_BITS-1:0] drained;

  wire begins = state == IDLE && may_compute;
  wire last_word = word + 1'b1 == words;
  wire last_pair = last_word && position + 1'b1 == positions;
  wire ends = state == DRAINING && drained == LAST_DRAINED[DRAIN_BITS-1:0];

  always @(posedge clk) begin
    if (reset) begin
      state <= IDLE;
      word <= {(WEIGHT_ADDRESS_BITS+1){1'b0}};
      position <= {(POSITION_BITS+1){1'b0}};
      input_address <= {INPUT_ADDRESS_BITS{1'b0}};
      drained <= {DRAIN_BITS{1'b0}};
    end else begin
      case (state)
        READING: begin
          word <= last_word ? {(WEIGHT_ADDRESS_BITS+1){1'b0}} : word + 1'b1;
          input_address <= last_pair ? {INPUT_ADDRESS_BITS{1'b0}} : input_address + 1'b1;
          if (last_word) position <= last_pair ? {(POSITION_BITS+1){1'b0}} : position + 1'b1;
          if (last_pair) state <= DRAINING;
        end
        DRAINING: begin
          drained <= ends ? {DRAIN_BITS{1'b0}} : drained + 1'b1;
          if (ends) state <= IDLE;
        end
        default: if (begins) state <= READING;
      endcase
    end
  end

  assign weight_address = word[WEIGHT_ADDRESS_BITS-1:0] + weight_base;
  assign opens = state == READING && word == {(WEIGHT_ADDRESS_BITS+1){1'b0}};
  assign closes = state == READING && last_word;
  assign began = begins;
  assign computed = ends;
