
  // Jobs and beats come from files as soon as the engine takes them; levels go to a file, and the cycles from the first
  // job's beginning to the last level are printed.
  reg clk = 1'b0;
  always #5 clk = ~clk;

  reg [JOB-1:0] job, next_job;
  reg [BEAT-1:0] load_data, next_beat;
  reg reset = 1'b1, job_valid = 1'b0, load_valid = 1'b0;
  wire job_ready, load_ready, levels_valid, idle;
  wire [LEVELS-1:0] levels;
  integer jobs, beats, made, read, low, high, zero_point;
  integer cycle = -4;

  %{engine} engine (
    .clk(clk), .reset(reset), .job(job), .job_valid(job_valid), .job_ready(job_ready),
    .load_data(load_data), .load_valid(load_valid), .load_ready(load_ready),
    .low(low[9:0]), .high(high[9:0]), .zero_point(zero_point[7:0]),
    .levels(levels), .levels_valid(levels_valid), .idle(idle)
  );

  always @(posedge clk) begin
    cycle <= cycle + 1;
    reset <= cycle < -3;
    if (cycle == -4) begin
      if (!$value$plusargs("low=%d", low)) low = LOW;
      if (!$value$plusargs("high=%d", high)) high = HIGH;
      if (!$value$plusargs("zero_point=%d", zero_point)) zero_point = ZERO_POINT;
      jobs = $fopen("jobs.hex", "r");
      beats = $fopen("beats.hex", "r");
      made = $fopen("levels.hex", "w");
      if (jobs == 0 || beats == 0 || made == 0) $display("jobs.hex, beats.hex or levels.hex cannot be opened");
    end
    if (cycle == -1 || job_ready && cycle >= 0) begin
      read = $fscanf(jobs, "%h", next_job);
      job_valid <= read == 1;
      job <= next_job;
    end
    if (cycle == -1 || load_ready && load_valid && cycle >= 0) begin
      read = $fscanf(beats, "%h", next_beat);
      load_valid <= read == 1;
      load_data <= next_beat;
    end
    if (levels_valid && cycle >= 0) $fwrite(made, "%h\n", levels);
    if (idle && cycle > 0) begin
      $display("%0d cycles", cycle);
      $fclose(made);
      $finish;
    end
  end
