
  // A row of powers of two times numbers: shifted numbers, a shifter for each column.
  wire [COLUMNS*PRODUCT-1:0] products;
  genvar column;
  generate
    for (column = 0; column < COLUMNS; column = column + 1) begin : each_column
      %{product} multiply (
        .clk(clk),
        .weight(weights[column*BITS +: BITS]),
        .x(x[column*X_BITS +: X_BITS]),
        .product(products[column*PRODUCT +: PRODUCT])
      );
    end
  endgenerate
  %{tree} tree (.clk(clk), .terms(products), .sum(sum));
