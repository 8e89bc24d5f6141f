
  // A job, lowest bits first.
  wire [WEIGHT_ADDRESS_BITS:0] job_words = job[0 +: WEIGHT_ADDRESS_BITS+1];
  wire [POSITION_BITS:0] job_positions = job[POSITIONS_AT +: POSITION_BITS+1];
  wire [ADDRESS_BITS:0] job_input_words = job[INPUT_WORDS_AT +: ADDRESS_BITS+1];
  wire [WEIGHT_ADDRESS_BITS-1:0] job_weight_base = job[WEIGHT_BASE_AT +: WEIGHT_ADDRESS_BITS];
  wire [PARAMETER_BITS-1:0] job_parameter_base = job[PARAMETER_BASE_AT +: PARAMETER_BITS];
  wire [PARAMETER_BITS:0] job_parameter_words = job[PARAMETER_WORDS_AT +: PARAMETER_BITS+1];
  wire [GROUP_BITS-1:0] job_last_group = job[LAST_GROUP_AT +: GROUP_BITS];
  wire job_loads_weights = job[FLAGS_AT];
  wire job_loads_inputs = job[FLAGS_AT+1];
  wire job_first = job[FLAGS_AT+2];
  wire job_last = job[FLAGS_AT+3];

  // Who waits for whom: two jobs may be loaded and not yet computed, two groups of sums may be open.
  reg [1:0] jobs_waiting, groups_open, groups_ready;
  wire loaded, began, computed, stored;
  wire may_load = jobs_waiting != 2'd2;
  wire may_compute = jobs_waiting != 2'd0 && (!first || groups_open != 2'd2);
  wire may_store = groups_ready != 2'd0;
  always @(posedge clk) begin
    if (reset) begin
      jobs_waiting <= 2'd0;
      groups_open <= 2'd0;
      groups_ready <= 2'd0;
    end else begin
      jobs_waiting <= jobs_waiting + {1'b0, loaded} - {1'b0, computed};
      groups_open <= groups_open + {1'b0, began && first} - {1'b0, stored};
      groups_ready <= groups_ready + {1'b0, computed && last} - {1'b0, stored};
    end
  end

  // Load.
  wire weight_half, input_half;
  wire [1:0] parameter_set;
  wire writes_parameters, writes_weights, writes_inputs;
  wire [BEAT_BITS-1:0] beat;
  wire [ADDRESS_BITS-1:0] address;
  %{loader} load (
    .clk(clk), .reset(reset),
    .may_load(may_load), .job_valid(job_valid), .load_valid(load_valid), .load_ready(load_ready),
    .job_parameter_words({{(ADDRESS_BITS - PARAMETER_BITS){1'b0}}, job_parameter_words}),
    .job_weight_words({{(ADDRESS_BITS - WEIGHT_ADDRESS_BITS){1'b0}}, job_words}), .job_input_words(job_input_words),
    .job_loads_weights(job_loads_weights), .job_loads_inputs(job_loads_inputs), .job_first(job_first),
    .weight_half(weight_half), .input_half(input_half), .parameter_set(parameter_set),
    .writes_parameters(writes_parameters), .writes_weights(writes_weights), .writes_inputs(writes_inputs),
    .beat(beat), .address(address), .loaded(loaded)
  );
  assign job_ready = loaded;

  // What was loaded waits here until it is computed.
  reg [QUEUE-1:0] queue [0:1];
  reg queue_in, queue_out;
  always @(posedge clk) begin
    if (loaded)
      queue[queue_in] <= {job_words, job_positions, job_weight_base, job_parameter_base, job_last_group,
                          job_first, job_last, weight_half, input_half, parameter_set};
    queue_in <= !reset && (queue_in ^ loaded);
    queue_out <= !reset && (queue_out ^ computed);
  end
  wire [WEIGHT_ADDRESS_BITS:0] words;
  wire [POSITION_BITS:0] positions;
  wire [WEIGHT_ADDRESS_BITS-1:0] weight_base;
  wire [PARAMETER_BITS-1:0] parameter_base;
  wire [GROUP_BITS-1:0] last_group;
  wire first, last, reads_weight_half, reads_input_half;
  wire [1:0] reads_parameter_set;
  assign {words, positions, weight_base, parameter_base, last_group, first, last, reads_weight_half,
          reads_input_half, reads_parameter_set} = queue[queue_out];

  // Compute.
  wire [WEIGHT_ADDRESS_BITS-1:0] weight_address;
  wire [INPUT_ADDRESS_BITS-1:0] input_address;
  wire [POSITION_BITS:0] position;
  wire opens, closes;
  %{sequencer} compute (
    .clk(clk), .reset(reset),
    .may_compute(may_compute), .words(words), .positions(positions), .weight_base(weight_base),
    .weight_address(weight_address), .input_address(input_address), .position(position),
    .opens(opens), .closes(closes), .began(began), .computed(computed)
  );
  wire [WEIGHT_WORD-1:0] weights;
  %{weight_banks} weight_memory (
    .clk(clk), .write(writes_weights), .beat(beat),
    .write_address({address[WEIGHT_ADDRESS_BITS-1:0], weight_half}), .write_data(load_data),
    .read_address({weight_address, reads_weight_half}), .read_data(weights)
  );
  wire [INPUT_WORD-1:0] x;
  %{input_banks} input_memory (
    .clk(clk), .write(writes_inputs), .beat(beat),
    .write_address({address[INPUT_ADDRESS_BITS-1:0], input_half}), .write_data(load_data),
    .read_address({input_address, reads_input_half}), .read_data(x)
  );
  wire [ROWS*PARTIAL-1:0] partial_sums;
  %{lanes} lanes (.clk(clk), .weights(weights), .x(x), .sums(partial_sums));

  // Sums: where each belongs follows it through the lanes.
  reg [DELAY*(POSITION_BITS+2)-1:0] following;
  wire [DELAY*(POSITION_BITS+2)-1:0] entering;
  always @(posedge clk) following <= entering;
  assign entering = {following[0 +: (DELAY-1)*(POSITION_BITS+2)], position[POSITION_BITS-1:0], closes, opens};
  wire sum_opens = following[(DELAY-1)*(POSITION_BITS+2)];
  wire sum_closes = following[(DELAY-1)*(POSITION_BITS+2)+1];
  wire [POSITION_BITS-1:0] sum_position = following[(DELAY-1)*(POSITION_BITS+2)+2 +: POSITION_BITS];
  wire [POSITION_BITS-1:0] next_position = following[(DELAY-2)*(POSITION_BITS+2)+2 +: POSITION_BITS];

  reg sum_half, store_half;
  always @(posedge clk) begin
    sum_half <= reset || (sum_half ^ (began && first));  // the first group toggles it to 0
    store_half <= !reset && (store_half ^ stored);
  end
  wire [ROWS*SUM-1:0] sums, sums_0, sums_1;
  wire [POSITION_BITS-1:0] store_position;
  %{accumulators} accumulate (
    .clk(clk), .opens(sum_opens), .adds(!first), .partial_sums(partial_sums),
    .stood(sum_half ? sums_1 : sums_0), .sums(sums)
  );
  %{sum_memory} sum_memory_0 (
    .clk(clk), .write(sum_closes && !sum_half), .write_address(sum_position), .write_data(sums),
    .read_address(reading && !store_half ? store_position : next_position), .read_data(sums_0)
  );
  %{sum_memory} sum_memory_1 (
    .clk(clk), .write(sum_closes && sum_half), .write_address(sum_position), .write_data(sums),
    .read_address(reading && store_half ? store_position : next_position), .read_data(sums_1)
  );

  // Store: what a group of sums needs waits beside it.
  reg [POSITION_BITS+PARAMETER_BITS+GROUP_BITS+2:0] group_0, group_1;
  always @(posedge clk) if (computed && last) begin
    if (sum_half) group_1 <= {positions, parameter_base, last_group, reads_parameter_set};
    else group_0 <= {positions, parameter_base, last_group, reads_parameter_set};
  end
  wire [POSITION_BITS:0] store_positions;
  wire [PARAMETER_BITS-1:0] store_base;
  wire [GROUP_BITS-1:0] store_groups;
  wire [1:0] store_set;
  assign {store_positions, store_base, store_groups, store_set} = store_half ? group_1 : group_0;
  wire reading;
  wire [GROUP_BITS-1:0] group;
  %{storer} store (
    .clk(clk), .reset(reset), .may_store(may_store), .positions(store_positions), .groups(store_groups),
    .position(store_position), .group(group), .reading(reading), .stored(stored)
  );
  wire [OUTPUTS*PARAMETER-1:0] parameters;
  %{parameter_banks} parameter_memory (
    .clk(clk), .write(writes_parameters), .beat(beat),
    .write_address({parameter_set, address[PARAMETER_BITS-1:0]}), .write_data(load_data),
    .read_address({store_set, store_base + {{(PARAMETER_BITS - GROUP_BITS){1'b0}}, group}}), .read_data(parameters)
  );
  reg [GROUP_BITS-1:0] group_read;
  reg [3:0] emerging;
  always @(posedge clk) begin
    group_read <= group;
    emerging <= reset ? 4'd0 : {emerging[2:0], reading};
  end
  wire [GROUPS*OUTPUTS*SUM-1:0] all_sums;
  assign all_sums[ROWS*SUM-1:0] = store_half ? sums_1 : sums_0;
%{padding}
  wire [OUTPUTS*SUM-1:0] chosen_sums = all_sums[group_read*OUTPUTS*SUM +: OUTPUTS*SUM];
  genvar output_index;
  generate
    for (output_index = 0; output_index < OUTPUTS; output_index = output_index + 1) begin : each_output
      %{requantizer} requantize (
        .clk(clk), .sum(chosen_sums[output_index*SUM +: SUM]),
        .bias(parameters[output_index*PARAMETER +: 32]),
%{multiplier}
        .shift(parameters[output_index*PARAMETER+SHIFT_AT +: 6]),
        .low(low), .high(high), .zero_point(zero_point), .level(levels[output_index*8 +: 8])
      );
    end
  endgenerate
  assign levels_valid = emerging[3];
  assign idle = !job_valid && jobs_waiting == 2'd0 && groups_open == 2'd0;
  wire unused = &{1'b0, address, position, parameters};
