
  // Two rows of weights times the same numbers, a multiplier for each column; the second row stands behind the first.
  wire [COLUMNS*PRODUCT-1:0] first_products;
  wire [COLUMNS*PRODUCT-1:0] second_products;
  genvar column;
  generate
    for (column = 0; column < COLUMNS; column = column + 1) begin : each_column
      %{product} multiply (
        .clk(clk),
        .weights({weights[(COLUMNS+column)*BITS +: BITS], weights[column*BITS +: BITS]}),
        .x(x[column*X_BITS +: X_BITS]),
        .first_product(first_products[column*PRODUCT +: PRODUCT]),
        .second_product(second_products[column*PRODUCT +: PRODUCT])
      );
    end
  endgenerate
  %{tree} first_tree (.clk(clk), .terms(first_products), .sum(first_sum));
  %{tree} second_tree (.clk(clk), .terms(second_products), .sum(second_sum));
