
  // Tokens come word by word with their scores. Those that are kept are written one behind the other; of the others
  // a sum is kept, weighted by their scores, and what it is divided by. Its mean comes as one more token at the end.
  localparam TAKING = 1'b0, DIVIDING = 1'b1;
  reg state;
  reg [WORD_BITS-1:0] word;
  reg [TOKEN_BITS-1:0] token;
  reg [WEIGHT-1:0] total;
  reg [STEP_BITS-1:0] step;
  reg [COLUMNS*SUM-1:0] sums [0:WORDS-1];

  wire last_word = word == LAST_WORD[WORD_BITS-1:0];
  wire taken = state == TAKING && token_valid;
  wire keeps = token == {TOKEN_BITS{1'b0}} || score >= threshold;
  wire dropped = taken && !keeps;
  wire [8:0] weight = score == 8'd0 ? 9'd1 : {1'b0, score};
  wire nothing_dropped = total == {WEIGHT{1'b0}};
  wire [WEIGHT-1:0] next_total = total + (dropped && last_word ? {{(WEIGHT - 9){1'b0}}, weight} : {WEIGHT{1'b0}});

  wire [COLUMNS*SUM-1:0] stood = nothing_dropped ? {(COLUMNS*SUM){1'b0}} : sums[word];
  wire [COLUMNS*SUM-1:0] added;
  wire [COLUMNS*8-1:0] mean;
  genvar column;
  generate
    for (column = 0; column < COLUMNS; column = column + 1) begin : each_column
      wire signed [SUM-1:0] value = {{(SUM - 8){x[column*8+7]}}, x[column*8 +: 8]};
      wire signed [SUM-1:0] factor = {{(SUM - 9){1'b0}}, weight};
      assign added[column*SUM +: SUM] = stood[column*SUM +: SUM] + value * factor;

      // The nearest quotient, halves away from zero: bit by bit from the sum's size, twice it plus the divisor.
      wire [SUM-1:0] sum = sums[word][column*SUM +: SUM];
      wire [SUM-1:0] size = sum[SUM-1] ? -sum : sum;
      reg [SUM+1:0] left;
      reg [6:0] quotient;
      wire [SUM+1:0] divisor = {{(SUM + 1 - WEIGHT){1'b0}}, total, 1'b0} << step;
      wire fits = left >= divisor;
      always @(posedge clk) begin
        if (state == TAKING || step == FIRST_STEP[STEP_BITS-1:0]) begin
          left <= {1'b0, size, 1'b0} + {{(SUM + 2 - WEIGHT){1'b0}}, total};
          quotient <= 7'd0;
        end else begin
          left <= fits ? left - divisor : left;
          quotient <= {quotient[5:0], fits};
        end
      end
      wire [7:0] whole = {quotient, fits};
      assign mean[column*8 +: 8] = sum[SUM-1] ? -whole : whole;
    end
  endgenerate
  wire divided = state == DIVIDING && step == {STEP_BITS{1'b0}};

  always @(posedge clk) begin
    if (reset) begin
      state <= TAKING;
      word <= {WORD_BITS{1'b0}};
      token <= {TOKEN_BITS{1'b0}};
      total <= {WEIGHT{1'b0}};
      address <= {ADDRESS_BITS{1'b0}};
      step <= FIRST_STEP[STEP_BITS-1:0];
    end else begin
      if (dropped) sums[word] <= added;
      if (taken || divided) word <= last_word ? {WORD_BITS{1'b0}} : word + 1'b1;
      if (taken && last_word) begin
        token <= token + 1'b1;
        total <= next_total;
        if (last_token && next_total != {WEIGHT{1'b0}}) state <= DIVIDING;
      end
      if (state == DIVIDING) step <= divided ? FIRST_STEP[STEP_BITS-1:0] : step - 1'b1;
      if (divided && last_word) state <= TAKING;
      if (written) address <= address + 1'b1;
    end
  end

  assign written = (taken && keeps) || divided;
  assign written_word = divided ? mean : x;
  assign index = token;
  assign is_package = divided;
