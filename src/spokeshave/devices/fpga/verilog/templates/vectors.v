
  // Every vector is given in the middle of a cycle, and what came of it is written down shortly before the clock's
  // edge so many cycles later.
  reg clk = 1'b0;
  reg [INPUT_BITS-1:0] given [0:VECTORS-1];
  reg [INPUT_BITS-1:0] now;
  wire [OUTPUT_BITS-1:0] made;
  integer index, file;

%{instance}

  always #5 clk = ~clk;

  initial begin
    $readmemh("inputs.hex", given);
    file = $fopen("outputs.hex", "w");
    @(negedge clk) now = given[0];  // once more than it counts, so that a reset has happened
    for (index = 0; index < VECTORS + LATENCY; index = index + 1) begin
      @(negedge clk);
      now = given[index < VECTORS ? index : VECTORS - 1];
      #4 if (index >= LATENCY) $fwrite(file, "%h\n", made);
    end
    $fclose(file);
    $finish;
  end
