
  // A weight is {sign, order}: 0 where the order is 0, else a power of two, and the product is x * 2^(order - 1).
  wire [X_BITS:0] signed_x = weight[BITS-1] ? minus_x : {x[X_BITS-1], x};
  wire [PRODUCT-1:0] wide = {{(PRODUCT - X_BITS - 1){signed_x[X_BITS]}}, signed_x};
  reg [PRODUCT-1:0] shifted;
  always @(posedge clk) begin
    case (weight[BITS-2:0])
%{cases}
    endcase
  end
  assign product = shifted;
