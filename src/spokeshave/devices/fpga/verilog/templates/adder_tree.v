
%{levels}
