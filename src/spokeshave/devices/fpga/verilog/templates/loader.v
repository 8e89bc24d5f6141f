
  // Fills the memories job by job: parameters of rows, words of weights, words of inputs, each in whole beats.
  localparam IDLE = 2'd0, PARAMETERS = 2'd1, WEIGHTS = 2'd2, INPUTS = 2'd3;
  reg [1:0] section;
  reg [BEAT_BITS-1:0] beat_in_word;
  reg [ADDRESS_BITS:0] word;

  wire begins = section == IDLE && job_valid && may_load;
  wire taken = section != IDLE && load_valid;
  wire [BEAT_BITS-1:0] last_beat = section == PARAMETERS ? PARAMETER_BEATS[BEAT_BITS-1:0]
                                 : section == WEIGHTS ? WEIGHT_BEATS[BEAT_BITS-1:0]
                                 : INPUT_BEATS[BEAT_BITS-1:0];
  wire [ADDRESS_BITS:0] words = section == PARAMETERS ? job_parameter_words
                                    : section == WEIGHTS ? job_weight_words : job_input_words;
  wire word_ends = taken && beat_in_word == last_beat;
  wire section_ends = word_ends && word + 1'b1 == words;
  wire job_ends = (section_ends && (section == INPUTS || (section == WEIGHTS && !job_loads_inputs)))
                || (begins && !job_loads_weights && !job_loads_inputs);

  always @(posedge clk) begin
    if (reset) begin
      section <= IDLE;
      beat_in_word <= {BEAT_BITS{1'b0}};
      word <= {(ADDRESS_BITS+1){1'b0}};
      weight_half <= 1'b0;
      input_half <= 1'b0;
      parameter_set <= 2'd0;
    end else begin
      if (begins) begin
        section <= !job_loads_weights ? (job_loads_inputs ? INPUTS : IDLE) : job_first ? PARAMETERS : WEIGHTS;
        weight_half <= weight_half ^ job_loads_weights;
        input_half <= input_half ^ job_loads_inputs;
        if (job_first && job_loads_weights) parameter_set <= parameter_set + 2'd1;
      end
      if (taken) beat_in_word <= word_ends ? {BEAT_BITS{1'b0}} : beat_in_word + 1'b1;
      if (word_ends) word <= section_ends ? {(ADDRESS_BITS+1){1'b0}} : word + 1'b1;
      if (section_ends) section <= job_ends ? IDLE : section == PARAMETERS ? WEIGHTS : INPUTS;
    end
  end

  assign load_ready = section != IDLE;
  assign writes_parameters = taken && section == PARAMETERS;
  assign writes_weights = taken && section == WEIGHTS;
  assign writes_inputs = taken && section == INPUTS;
  assign beat = beat_in_word;
  assign address = word[ADDRESS_BITS-1:0];
  assign loaded = job_ends;
